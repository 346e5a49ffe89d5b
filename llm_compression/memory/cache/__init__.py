"""Vectors that need not be made again."""
