"""What is done with runs that forecast: scores, climates, pictures."""
