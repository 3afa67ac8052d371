"""Measuring a run of pictures and captions."""
