"""Rounds of asking and learning: mining, one-bit or full labels, self-paced training, increments, fusion."""
