"""Checkpoints in the format of Hugging Face, T5's family: read into a run directory, and written from one."""
