"""A hub on this machine: as much of its HTTP interface as a download asks for."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Commits by hash, each a folder; branches and tags by name; a token if it is private."""

    commits: dict[str, Path]
    names: dict[str, str]
    token: str | None = None

    def commit(self, revision: str) -> str | None:
        """The hash that a branch, tag or hash stands for."""
        found = self.names.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """Repositories by id, and every request as ``METHOD path``."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    down: bool = False
    breaks: bool = False  # the connection, in the middle of a weight file

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        gets = [r.partition(" ")[2] for r in self.requests if r.startswith("GET ")]
        return {path.partition("/resolve/")[2].partition("/")[2] for path in gets} - {""}


def commit_hash(name: str) -> str:
    """A hash for a commit called ``name``."""
    return hashlib.sha1(name.encode()).hexdigest()


class _RefusalError(Exception):
    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            status, headers, body = self._reply(path)
        except _RefusalError as refused:
            status, body = refused.status, b"{}"
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.code}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            broken = self.hub.breaks and path.endswith(".safetensors")
            self.wfile.write(body[: len(body) // 2] if broken else body)
            self.close_connection |= broken

    def _reply(self, path: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
        if self.hub.down:
            raise _RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "Down")
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            return HTTPStatus.OK, {"Content-Type": "application/json"}, self._api(owner, name, rest)
        owner, name, _, revision, *parts = path.removeprefix("/").split("/")
        return self._file(f"{owner}/{name}", revision, "/".join(parts))

    def _api(self, owner: str, name: str, rest: list[str]) -> bytes:
        kind, revision = (*rest, "revision", "main")[:2] if not rest else (rest[0], rest[1])
        commit, folder = self._find(f"{owner}/{name}", revision)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if kind == "tree":
            return json.dumps([_entry(folder, path) for path in files]).encode()
        siblings = [{"rfilename": str(path.relative_to(folder))} for path in files]
        info = {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings, "private": False}
        return json.dumps(info).encode()

    def _file(
        self, repository: str, revision: str, name: str
    ) -> tuple[HTTPStatus, dict[str, str], bytes]:
        commit, folder = self._find(repository, revision)
        if not (folder / name).is_file():
            raise _RefusalError(HTTPStatus.NOT_FOUND, "EntryNotFound")
        content = (folder / name).read_bytes()
        headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": commit}
        return HTTPStatus.OK, headers, content

    def _find(self, name: str, revision: str) -> tuple[str, Path]:
        repository = self.hub.repositories.get(name)
        wanted = f"Bearer {repository.token}" if repository and repository.token else None
        # As the real one does: who may not see a repository is not told whether it is there.
        if repository is None or wanted not in (None, self.headers.get("Authorization")):
            raise _RefusalError(HTTPStatus.UNAUTHORIZED, "RepoNotFound")
        commit = repository.commit(revision)
        if commit is None:
            raise _RefusalError(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        return commit, repository.commits[commit]


def _entry(folder: Path, path: Path) -> dict[str, object]:
    content = path.read_bytes()
    name = str(path.relative_to(folder))
    return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}


def _blob(content: bytes) -> str:
    """Git's name for a file's content."""
    return hashlib.sha1(b"blob %d\x00%b" % (len(content), content)).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
