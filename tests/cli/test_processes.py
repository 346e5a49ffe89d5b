"""The installed command, ``python -m`` and the scripts in processes of their own, in real pipes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from llm_compression.weights.reader import WeightTable
from tests.cli.conftest import TEXTS, rows
from tests.conftest import ROOT

MODULE = [sys.executable, "-m", "llm_compression"]
# A shell lets what it runs in the background ignore Ctrl-C, and children inherit that.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import os, signal, sys\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
]
COMMAND = [str(Path(sys.executable).with_name("llm-compression"))]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def environment(empty_cache: Path) -> dict[str, str]:
    """That of a user, whose output is buffered."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")
    }
    return {**kept, "LLM_COMPRESSION_CACHE": str(empty_cache)}


class Runner:
    """Runs a command line and gives the finished process, its output as text."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.folder = environment, folder

    def __call__(
        self, *command: object, stdin: str = "", **options: object
    ) -> subprocess.CompletedProcess[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(
            [str(part) for part in command],
            input=stdin,
            env=self.environment,
            cwd=self.folder,
            encoding="utf-8",
            timeout=120,
            check=False,
            **pipes,  # type: ignore[call-overload]
        )


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Runner:
    return Runner(environment, tmp_path)


@pytest.mark.parametrize("start", [MODULE, COMMAND])
def test_the_command_is_installed(start: list[str], run: Runner, tiny_table: Path):
    done = run(*start, "inspect", tiny_table)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"fingerprint:    {WeightTable(tiny_table).fingerprint}\n")


def test_statuses(run: Runner, tiny_table: Path):
    failed = run(*MODULE, "inspect", "missing.parquet")
    assert failed.returncode == 1
    assert failed.stderr.startswith("llm-compression: error: ")
    misused = run(*MODULE, "inspect", tiny_table, "--wrong")
    assert misused.returncode == 2
    assert "Traceback" not in failed.stderr + misused.stderr


def test_a_pipe_of_texts(run: Runner, tiny_table: Path):
    done = run(*MODULE, "embed", tiny_table, "--format", "jsonl", stdin="\n".join(TEXTS))
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["text"] for row in rows(done.stdout)] == TEXTS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_reader_that_stops_early(environment: dict[str, str], tiny_table: Path):
    """As `head` does, when more is to come than a pipe holds."""
    command = [*MODULE, "embed", str(tiny_table), "--format", "jsonl"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"the cat sits on the mat\n" * 500)
        process.stdin.close()
        assert json.loads(process.stdout.readline())["text"] == "the cat sits on the mat"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["inspect", "--json"], ["--help"], ["embed", "--help"]])
def test_a_reader_that_reads_nothing(arguments: list[str], run: Runner, tiny_table: Path):
    """Little output stands in a buffer until the process ends; it must not fail there."""
    given = [tiny_table if "inspect" in arguments else "", *arguments[1:]]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [part for part in (arguments[0], *given) if part]
        done = run(*MODULE, *command, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--json"]])
def test_a_full_disk_behind_the_output(arguments: list[str], run: Runner, tiny_table: Path):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(*MODULE, arguments[0], tiny_table, *arguments[1:], stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("llm-compression: error: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_output_file_on_a_full_disk(run: Runner, tiny_table: Path, tmp_path: Path):
    """The old file stays whole, and there is no other."""
    assert run(*MODULE, "map", tiny_table).returncode == 0
    old = {"vectors.jsonl": "old", "vectors.parquet": "old"}
    for name, content in old.items():
        (tmp_path / name).write_text(content)
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300, -1)); "
    program = "from llm_compression.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for name in old:
        command = [sys.executable, "-c", limited + program, "embed", tiny_table, *TEXTS]
        done = run(*command, "--output", tmp_path / name)
        assert done.returncode == 1, done
        assert str(tmp_path / name) in done.stderr
        assert done.stderr.count("\n") == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == old


def test_a_terminal_of_few_letters(run: Runner, tiny_table: Path):
    run.environment["PYTHONIOENCODING"] = "ascii"
    done = run(*MODULE, "embed", tiny_table, "das Flu\u00df 日本")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("das Flu")


def test_ctrl_c(environment: dict[str, str], tiny_table: Path, tmp_path: Path):
    """Waiting for texts, interrupted: one line, and the shell's status for it."""
    pipe = tmp_path / "texts"
    os.mkfifo(pipe)
    command = [*INTERRUPTIBLE, *MODULE, "embed", str(tiny_table), "--file", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        writing = open_for_reader(pipe)
        time.sleep(0.5)  # a signal between its opening and its reading would wait for the read
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            os.close(writing)
    assert (process.returncode, err) == (130, b"llm-compression: error: interrupted\n")


def open_for_reader(pipe: Path) -> int:
    """The pipe's writing end, as soon as another process has the reading end."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.02)
    raise TimeoutError(f"nobody read {pipe}")


def test_the_script_that_converts(run: Runner, tiny_bert: Path, tiny_table: Path, tmp_path: Path):
    target = tmp_path / "model.parquet"
    script = SCRIPTS / "convert_bert_to_parquet.py"
    done = run(sys.executable, script, "--model", tiny_bert, "--output", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compared with the source bit for bit" in done.stdout
    assert WeightTable(target).fingerprint == WeightTable(tiny_table).fingerprint
    failed = run(sys.executable, script, tmp_path / "nowhere", target)
    assert failed.returncode == 1
    assert failed.stderr.startswith("llm-compression: error: no checkpoint folder at")


def test_the_script_that_validates(run: Runner, tiny_bert: Path, tiny_table: Path):
    script = SCRIPTS / "validate_precision.py"
    done = run(sys.executable, script, tiny_table, "--reference", tiny_bert)
    assert done.returncode == 0, done.stderr
    assert "\npassed: 7 taps, " in done.stdout
    failed = run(sys.executable, script, tiny_table, "--reference", tiny_bert.parent / "nowhere")
    assert failed.returncode == 1
    assert failed.stderr.startswith("llm-compression: error: no checkpoint folder at")


@pytest.mark.parametrize("name", ["convert_bert_to_parquet.py", "validate_precision.py"])
def test_help_of_a_script(name: str, run: Runner):
    done = run(sys.executable, SCRIPTS / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_streams_that_are_closed(environment: dict[str, str], tiny_table: Path):
    command = " ".join([*MODULE, "embed", str(tiny_table)])
    closed = subprocess.run(
        f"{command} cat >&-", shell=True, env=environment, capture_output=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, b"")
    closed = subprocess.run(
        f"{command} <&-", shell=True, env=environment, capture_output=True, check=False
    )
    assert closed.returncode == 2
    assert closed.stderr.startswith(b"llm-compression: error: no texts; ")


def test_a_saved_folder_is_a_model_everywhere(run: Runner, tiny_table: Path, tmp_path: Path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "model.parquet").write_bytes(tiny_table.read_bytes())
    for command in (["inspect"], ["verify"], ["map"]):
        done = run(*MODULE, *command, folder)
        assert done.returncode == 0, done.stderr
