"""Measures how fast a model of your own is here, and how near the machine's limit.

python scripts/benchmark_latency.py MODEL

takes a weight table of texts, pictures or sounds; `--help` lists the options.
"""

import sys

from benchmarks.latency import main

if __name__ == "__main__":
    sys.exit(main())
