"""Times within a sound, as people read them."""

import pytest

from llm_compression.cli.times import span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0:00.0"),
        (0.04, "0:00.0"),
        (0.06, "0:00.1"),
        (0.47, "0:00.5"),
        (9.94, "0:09.9"),
        (11.0, "0:11.0"),
        (59.94, "0:59.9"),
        (59.96, "1:00.0"),
        (60.0, "1:00.0"),
        (61.5, "1:01.5"),
        (600.0, "10:00.0"),
        (3599.9, "59:59.9"),
        (3599.96, "1:00:00.0"),
        (3600.0, "1:00:00.0"),
        (3661.2, "1:01:01.2"),
        (10800.0, "3:00:00.0"),
        (360000.0, "100:00:00.0"),
    ],
)
def test_a_time(seconds: float, said: str):
    assert span(seconds, 0.0) == f"{said} - 0:00.0"
    assert span(0.0, seconds) == f"0:00.0 - {said}"


def test_both_ends():
    assert span(28.5, 3658.5) == "0:28.5 - 1:00:58.5"
