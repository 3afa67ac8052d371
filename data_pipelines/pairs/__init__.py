"""Pictures and what is said of them: pairs to learn from and to search in."""
