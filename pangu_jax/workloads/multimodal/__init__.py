"""Pangu multimodal under the trainer; recipes import this package."""
