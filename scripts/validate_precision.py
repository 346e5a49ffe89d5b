"""The `llm-compression validate` command as a script."""

import sys

from llm_compression.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
