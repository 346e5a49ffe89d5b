"""The `llm-compression convert` command as a script, for Whisper as for any family."""

import sys

from llm_compression.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
