"""Checkpoint to weight table and back."""
