"""Models of vision of other libraries: to a run directory, and back."""
