"""Vectors at rest, and how they were made."""
