"""Knowledge for a model that does not know: files or a database, cut into passages, searched, and cited."""
