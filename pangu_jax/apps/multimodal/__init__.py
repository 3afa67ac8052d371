<<<<<<< HEAD
"""What people do with models of pictures and captions."""
=======
"""What people do with a run of pictures and captions."""
>>>>>>> main
