"""The part of the Hub's API that pushing and loading a repository use, on loopback, in memory.

Endpoints and shapes are those that huggingface_hub 2.4 asks for (`hf_api.py`, `_commit_api.py`, `lfs.py`,
`file_download.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


LARGE = (".safetensors", ".bin", ".ogg", ".wav")


@dataclass
class Repository:
    """Files of the only branch; `large` names those that came by LFS."""

    private: bool = False
    sdk: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return self.commits[-1] if self.commits else "0" * 40

    def etag(self, path: str) -> str:
        """Of a file: its git blob id, or its sha256 if it is large, as on the Hub."""
        content = self.files[path]
        if path in self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """A hub in memory. `repositories` by type and name; `requested` has every path that was asked for."""

    daemon_threads = True

    def __init__(self, token: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requested: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_server(token: str = "hf_test") -> Iterator[Hub]:
    """A running hub that takes one token."""
    hub = Hub(token)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._serve()

    def do_HEAD(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def do_PUT(self):
        self._serve()

    def _serve(self):
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        self.server.requested.append(path)
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split():
                writes = self.command in ("POST", "PUT") and action is not _Handler.store
                if writes and self.headers.get("Authorization") != f"Bearer {self.server.token}":
                    return self._error(403, "You don't have the right to do this.")
                return action(self, body, **match.groupdict())
        return self._error(404, "Entry not found", "EntryNotFound")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _reply(self, content: object, status: int = 200, headers: dict[str, str] | None = None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, message: str, code: str | None = None):
        self._reply(
            {"error": message}, status, {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        )

    def _find(self, kind: str, name: str) -> Repository | None:
        repository = self.server.repositories.get((kind, name))
        if repository is None:
            self._error(404, "Repository not found", "RepoNotFound")
        return repository

    def create(self, body: bytes):
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        kind = asked.get("type") or "model"
        if (kind, name) in self.server.repositories:
            url = f"{self.server.url}/{name}"
            return self._reply({"error": "You already created this repo", "url": url, "name": name}, 409)
        self.server.repositories[kind, name] = Repository(asked.get("visibility") == "private", asked.get("sdk"))
        prefix = "spaces/" if kind == "space" else ""
        return self._reply({"url": f"{self.server.url}/{prefix}{name}", "name": name, "id": name})

    def check_card(self, body: bytes):
        content = json.loads(body)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
        self._reply({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, body: bytes, kind: str, name: str, revision: str):
        repository = self._find(kind, name)
        if repository is not None:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": repository.etag(file["path"]) if file["path"] in repository.files else None,
                }
                for file in json.loads(body)["files"]
            ]
            self._reply({"files": files})

    def batch(self, body: bytes, name: str):
        actions = []
        for item in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/store/{item['oid']}"}}
            actions.append(item if item["oid"] in self.server.objects else {**item, "actions": upload})
        self._reply({"transfer": "basic", "objects": actions})

    def store(self, body: bytes, oid: str):
        if hashlib.sha256(body).hexdigest() != oid:
            return self._error(400, "The content is not what its name says.")
        self.server.objects[oid] = body
        return self._reply({})

    def commit(self, body: bytes, kind: str, name: str, revision: str):
        repository = self._find(kind, name)
        if repository is None:
            return
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self._error(400, f"{value['path']} was not uploaded.")
                repository.files[value["path"]] = self.server.objects[value["oid"]]
                repository.large.add(value["path"])
            elif item["key"] == "deletedFile":
                repository.files.pop(value["path"])
        state = repr(sorted((path, repository.etag(path)) for path in repository.files))
        repository.commits.append(hashlib.sha1(f"{len(repository.commits)}{state}".encode()).hexdigest())
        url = f"{self.server.url}/{name}/commit/{repository.sha}"
        self._reply({"commitUrl": url, "commitOid": repository.sha, "success": True})

    def info(self, body: bytes, kind: str, name: str, revision: str = "main"):
        repository = self._find(kind, name)
        if repository is not None:
            siblings = [{"rfilename": path} for path in repository.files]
            sizes = {"id": name, "sha": repository.sha, "private": repository.private, "siblings": siblings}
            self._reply({**sizes, "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})

    def tree(self, body: bytes, kind: str, name: str, revision: str, folder: str | None):
        repository = self._find(kind, name)
        if repository is None:
            return
        prefix = f"{folder.strip('/')}/" if folder else ""
        found = [path for path in repository.files if path.startswith(prefix)]
        if prefix and not found:
            self._error(404, "Entry not found", "EntryNotFound")
            return
        self._reply(
            [{"type": "file", "path": p, "size": len(repository.files[p]), "oid": repository.etag(p)} for p in found]
        )

    def resolve(self, body: bytes, name: str, revision: str, path: str):
        repository = self._find("model", name)
        if repository is None:
            return
        if path not in repository.files:
            self._error(404, "Entry not found", "EntryNotFound")
            return
        headers = {"ETag": f'"{repository.etag(path)}"', "X-Repo-Commit": repository.sha, "Accept-Ranges": "bytes"}
        self._reply(repository.files[path], headers=headers)


_REPOSITORY = r"/api/(?P<kind>model|space)s/(?P<name>[^/]+/[^/]+)"
ROUTES = (
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.check_card),
    ("POST", _REPOSITORY + r"/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", _REPOSITORY + r"/commit/(?P<revision>.+)", _Handler.commit),
    ("POST", r"/(?:spaces/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/store/(?P<oid>[0-9a-f]{64})", _Handler.store),
    ("GET", _REPOSITORY, _Handler.info),
    ("GET", _REPOSITORY + r"/revision/(?P<revision>[^/]+)", _Handler.info),
    ("GET", _REPOSITORY + r"/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", _Handler.tree),
    ("GET HEAD", r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
)
