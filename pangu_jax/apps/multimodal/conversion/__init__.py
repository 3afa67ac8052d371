"""Models of pictures and texts of other libraries: to a run directory, and back."""
