"""The corpus factory: raw documents in, a clean, deduplicated, decontaminated, documented corpus out.

Stages are plain functions from files to files (`build` names them in order); what they share is the table of
documents in `frames`. Nothing here needs JAX, and only what runs imports polars and the like. Reading, which
training and knowledge do too, needs nothing of the extra `corpus`; cleaning does.
"""
