"""Trunks of vision and what is learnt by them."""
