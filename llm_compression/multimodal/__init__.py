"""Encoders for each modality and the preprocessing in front of them."""
