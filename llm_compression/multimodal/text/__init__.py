"""Texts: from strings to embeddings."""
