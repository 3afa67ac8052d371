"""Fields of the atmosphere: files to stores, stores to batches. Usable without JAX."""
