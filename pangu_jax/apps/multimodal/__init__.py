"""What people do with multimodal models."""
