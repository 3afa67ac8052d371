"""What people do with models of pictures and captions."""
