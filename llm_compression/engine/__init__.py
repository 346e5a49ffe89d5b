"""Engines: what a user opens and calls."""
