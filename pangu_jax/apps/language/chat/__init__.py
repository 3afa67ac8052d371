"""Talking with a model: a turn's questions one by one, in a terminal or a pipe."""
