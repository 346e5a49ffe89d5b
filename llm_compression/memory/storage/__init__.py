"""Vectors at rest: one dataset of plain Parquet files for each modality, which loses nothing."""
