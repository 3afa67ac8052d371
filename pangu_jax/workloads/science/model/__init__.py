"""Networks over fields of the Earth."""
