"""`llm-compression validate` as a script, for both towers of a CLIP model."""

import sys

from llm_compression.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
