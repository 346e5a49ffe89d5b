"""The values that options take, here so that ``--help`` needs neither torch nor numpy."""

FLOAT_DTYPES = ("float32", "float16", "bfloat16")  # dtype: what conversion can store
# compute_dtype: what the core computes in; float16 on GPUs, int8 on the CPU alone
COMPUTE_DTYPES = ("float32", "bfloat16", "float16", "int8")
SCALED_PRECISIONS = ("int8", "uint8")  # they need ranges
PRECISIONS = ("float32", *SCALED_PRECISIONS, "binary", "ubinary")  # precision: what comes out
TOWERS = ("text", "vision", "audio")
AUDIO_MODES = ("exact", "fast")  # mode: windows padded as the reference does, or not
TRUNCATIONS = ("warn", "error", "ok")  # truncation: what a text beyond the maximum meets
