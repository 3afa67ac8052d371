"""Files of tensors of other libraries, and folders that are there whole or not at all. No family."""
