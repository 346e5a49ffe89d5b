"""Pictures: from files and arrays to embeddings."""
