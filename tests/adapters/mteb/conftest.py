"""A stand-in for torchcodec, with which datasets decodes mteb's mock sounds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "codec"))  # before datasets looks for it

collect_ignore = ["codec"]
