"""Scores between embeddings, as functions of arrays."""
