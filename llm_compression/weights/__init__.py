"""The weight table: one model as one Parquet file, and its memory-mapped copy."""
