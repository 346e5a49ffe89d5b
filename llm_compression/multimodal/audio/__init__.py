"""Sounds: from files and arrays to embeddings."""
