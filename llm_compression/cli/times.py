"""Times within a sound, as people read them."""

from collections.abc import Sequence


def spans(starts: Sequence[float], stops: Sequence[float]) -> list[str]:
    """The `span` of each, all as wide as the widest."""
    found = [span(start, stop) for start, stop in zip(starts, stops, strict=True)]
    widest = max(map(len, found), default=0)
    return [text.ljust(widest) for text in found]


def span(start: float, stop: float) -> str:
    """Seconds as ``0:00.0 - 0:11.0``, with hours where there are any."""
    return f"{_time(start)} - {_time(stop)}"


def _time(seconds: float) -> str:
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{tenths / 10:04.1f}"
