"""``python -m llm_compression.cli``."""

import sys

from llm_compression.cli.main import main

sys.exit(main())
