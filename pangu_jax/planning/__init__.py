"""Layouts for chips that need not be there, ranked and compiled; and a step compiled for a chip."""
