"""What is done with models of the atmosphere."""
