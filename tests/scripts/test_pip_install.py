"""CUDA builds are seen in pip's plan and avoided."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts import pip_install
from tests.scripts.wheels import write_wheel

REPORTS = Path(__file__).parent / "reports"  # pip's own, cut down to a few packages


def report(name: str) -> dict[str, Any]:
    return json.loads((REPORTS / f"{name}.json").read_text())


class FakePip:
    """Answers dry runs with reports, one after the other, and records what is installed."""

    def __init__(self, *reports: str) -> None:
        self.reports = [json.dumps(report(name)) for name in reports]
        self.installed: list[list[str]] = []

    def __call__(self, arguments: Sequence[str]) -> None:
        if "--dry-run" in arguments:
            where = arguments[list(arguments).index("--report") + 1]
            Path(where).write_text(self.reports.pop(0))
            return
        self.installed.append(list(arguments))


@pytest.fixture
def fake_pip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    pip = FakePip(*request.param)
    monkeypatch.setattr(pip_install, "pip_install", pip)
    return pip


def test_cuda_packages_of_recorded_reports() -> None:
    assert pip_install.cuda_packages(report("cpu")) == []
    assert pip_install.cuda_packages(report("cuda")) == [
        "cuda-bindings",
        "cuda-toolkit",
        "nvidia-cublas",
        "nvidia-cudnn-cu13",
        "triton",
    ]


@pytest.mark.parametrize(
    ("name", "cuda"),
    [
        ("nvidia_nccl_cu12", True),
        ("pytorch-triton", True),
        ("Triton", True),
        ("cuda-python", True),
        ("tritonclient", False),
        ("barracuda-client", False),
        ("nvidia", False),
        ("torch", False),
    ],
)
def test_cuda_packages_by_name(name: str, cuda: bool) -> None:
    packages = pip_install.cuda_packages({"install": [{"metadata": {"name": name}}]})
    assert packages == ([name] if cuda else [])


@pytest.mark.parametrize("fake_pip", [["cpu"]], indirect=True)
def test_cpu_plan_is_installed_as_it_is(fake_pip: FakePip) -> None:
    pip_install.install(["torch", "-c", "pins.txt"])
    assert fake_pip.installed == [["torch", "-c", "pins.txt"]]


@pytest.mark.parametrize("fake_pip", [["cuda", "cpu"]], indirect=True)
def test_cuda_plan_is_replaced_through_the_cpu_index(fake_pip: FakePip) -> None:
    pip_install.install(["torch"])
    assert fake_pip.installed == [["torch", "--extra-index-url", pip_install.CPU_WHEELS]]


@pytest.mark.parametrize("fake_pip", [["cuda", "cuda"]], indirect=True)
def test_nothing_is_installed_where_no_cpu_build_is_to_be_had(
    fake_pip: FakePip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pip_install.main(["torch"]) == 1
    assert fake_pip.installed == []
    message = capsys.readouterr().err
    assert message.startswith("error: pip would still install cuda-bindings, cuda-toolkit, nvidia-")
    assert pip_install.CPU_WHEELS in message


@pytest.mark.parametrize("loud", [[], ["-v"], ["-vvv"]])
def test_plan_by_the_real_pip(wheelhouse: Path, loud: list[str]) -> None:
    write_wheel(wheelhouse, "tiny-frame", requires="nvidia-tiny")
    write_wheel(wheelhouse, "nvidia-tiny")
    plan = pip_install.plan(["tiny-frame", *loud])
    assert pip_install.cuda_packages(plan) == ["nvidia-tiny"]
    assert len(plan["install"]) == 2


def test_failure_of_pip_is_one_sentence(
    wheelhouse: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pip_install.main(["no-such-package-anywhere"]) == 1
    message = capfd.readouterr().err
    assert "No matching distribution found for no-such-package-anywhere" in message
    last = message.splitlines()[-1]
    assert last.startswith("error: `pip install no-such-package-anywhere")
    assert last.endswith("ended with code 1; its message is above")
    assert "Traceback" not in message


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0)])
def test_usage(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert pip_install.main(arguments) == code
    assert "python scripts/pip_install.py" in capsys.readouterr().out
