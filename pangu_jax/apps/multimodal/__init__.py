"""What people do with a run of pictures and captions."""
