"""What people do with vision models."""
