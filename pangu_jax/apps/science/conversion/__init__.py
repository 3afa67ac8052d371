"""Weights of other libraries' Pangu-Weather."""
