"""Measuring a trunk: features, probes, fine-tuning, and the tables and pages of them."""
