"""Two towers, what brings them together, and what is learnt by them."""
