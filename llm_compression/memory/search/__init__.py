"""Search among stored vectors: exact, in two passes, or by an approximate index."""
