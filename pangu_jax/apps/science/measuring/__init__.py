"""Measuring a run that forecasts, beside what it must beat."""
