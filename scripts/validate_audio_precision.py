"""`llm-compression validate --tower audio` as a script."""

import sys

from llm_compression.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["validate", "--tower", "audio", *sys.argv[1:]]))
