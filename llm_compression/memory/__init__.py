"""Vectors at rest and the search over them."""
