"""A small hub of networks on this machine, which speaks the protocol of the Hugging Face Hub."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_a_test"


class Hub(ThreadingHTTPServer):
    """Serves what is in `files` and takes what is pushed with `TOKEN`.

    Attributes:
      files: contents by "OWNER/NAME/FILE".
      ranges: the Range headers of requests for contents, "" where there was none.
      cut: how many of the next contents are sent in half, and then the connection closed.
      wrong: whether contents are sent with their first byte changed.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}  # pushed, and not in a commit yet
        self.ranges: list[str] = []
        self.cut, self.wrong = 0, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def commit(self) -> str:
        """Of what there is now."""
        return hashlib.sha1(b"".join(self.files.values()), usedforsecurity=False).hexdigest()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        self._file(body=True)

    def _file(self, body: bool) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        content = self.server.files.get(f"{found[1]}/{found[3]}") if found else None
        if found is None or content is None or found[2] == "v2":
            known = found and any(name.startswith(f"{found[1]}/") for name in self.server.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            if found and known and found[2] == "v2":
                code = "RevisionNotFound"
            return self._answer(404, b"", {"X-Error-Code": code})
        headers = {"X-Repo-Commit": self.server.commit, "Accept-Ranges": "bytes"}
        if found[3].endswith(".safetensors"):
            headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        else:
            blob = b"blob %d\0" % len(content) + content
            headers["ETag"] = f'"{hashlib.sha1(blob, usedforsecurity=False).hexdigest()}"'
        if not body:
            return self._answer(200, content, headers, body=False)
        self.server.ranges.append(asked := self.headers.get("Range", ""))
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.server.wrong:
            content = bytes([content[0] ^ 1]) + content[1:]
        self._answer(206 if start else 200, content[start:], headers)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b'{"error": "Invalid token"}')
        if self.path == "/api/repos/create":
            told = json.loads(sent)
            name = f"{told.get('organization') or 'me'}/{told['name']}"
            return self._json({"url": f"{self.server.address}/{name}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(sent)["files"]
            ]
            return self._json({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                each | {"actions": {"upload": {"href": f"{self.server.address}/lfs/{each['oid']}"}}}
                for each in json.loads(sent)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            for line in map(json.loads, sent.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    content = base64.b64decode(value["content"])
                    self.server.files[f"{found[1]}/{value['path']}"] = content
                elif line["key"] == "lfsFile":
                    content = self.server.large.pop(value["oid"])
                    self.server.files[f"{found[1]}/{value['path']}"] = content
            url = f"{self.server.address}/{found[1]}/commit/{self.server.commit}"
            return self._json({"commitUrl": url, "commitOid": self.server.commit})
        self._answer(404, b"")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = hashlib.sha256(content).hexdigest()
        assert self.path == f"/lfs/{digest}"
        self.server.large[digest] = content
        self._answer(200, b"")

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if self.server.cut and "ETag" in (headers or {}):
            self.server.cut -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)
