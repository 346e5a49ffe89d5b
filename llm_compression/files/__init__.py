"""Paths as users give them, the cache folder, and files that appear whole or not at all."""
