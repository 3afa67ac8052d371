"""Text to examples: corpora, vocabularies, seqio tasks, objectives, packed batches. Usable without JAX."""
