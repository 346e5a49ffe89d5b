"""What a process of its own does with long recordings."""

import gc
from multiprocessing.connection import Connection
from pathlib import Path

from llm_compression.multimodal.audio.encoder import AudioEncoder


def peaks(pipe: Connection, table: Path, mode: str, recordings: list[Path]) -> None:
    """Send the most memory, in MB, that was held up to the end of each, one after another."""
    encoder = AudioEncoder(table, mode=mode)
    for recording in recordings:
        encoder.encode(recording)
        gc.collect()
        pipe.send(_peak())


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
