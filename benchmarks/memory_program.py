"""`python -m benchmarks.memory_program PATH METHOD`: how much memory searches of a dataset take."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from llm_compression import MultimodalStorage

_KIB_PER_MIB = 1024


class _Peak(threading.Thread):
    """Watches the process's anonymous memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0

    def run(self) -> None:
        while True:
            self.mib = max(self.mib, anonymous_mib())
            time.sleep(0.002)


def anonymous_mib() -> float:
    """Memory that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("RssAnon")) / _KIB_PER_MIB


def main(path: str, method: str) -> None:
    """Print what one query and a thousand take."""
    storage = MultimodalStorage(path)
    width = storage.identities("text")[0].dimension
    queries = np.random.default_rng(0).standard_normal((1000, width), dtype=np.float32)
    before, peak = anonymous_mib(), _Peak()
    peak.start()
    storage.search(queries[0], "text", method=method)
    one = peak.mib - before
    storage.search(queries, "text", method=method)
    print(json.dumps({"one_mib": one, "many_mib": peak.mib - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
