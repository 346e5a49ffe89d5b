"""mem0 without telemetry, which it decides on when it is imported, and away from the home."""

import os
import tempfile

FOLDER = tempfile.TemporaryDirectory(prefix="mem0-")
os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = FOLDER.name
