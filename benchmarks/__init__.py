"""Benchmarks: what the package promises, measured beside what people use today, in one run."""
