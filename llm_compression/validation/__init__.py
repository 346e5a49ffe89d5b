"""Proof that a converted model computes what its reference computes."""
