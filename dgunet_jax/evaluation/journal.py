"""The scores of an evaluation that may be stopped: a line for each picture, written at once."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dgunet_jax.evaluation.measures import Scores
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import read_bytes

FILE = "scores.jsonl"


class Journal:
    """The scores in a file; its first line says what was evaluated.

    A line that was cut off by a crash is taken away.

    Args:
      path: the file; it need not exist.
      identity: all that the scores depend on besides the pictures' files: JSON values.

    Raises:
      UserError: the file is of another evaluation, is damaged or cannot be used.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self._path = path
        self._scores: dict[str, tuple[str, Scores | None]] = {}
        complete = b""
        if path.exists():
            content = read_bytes(path)
            complete = content[: content.rfind(b"\n") + 1]
            self._read(complete, identity)
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(len(complete))
            self._file.seek(len(complete))
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from error
        if not complete:
            self._append(dict(identity))

    def _read(self, content: bytes, identity: Mapping[str, Any]) -> None:
        try:
            first, *lines = [json.loads(line) for line in content.splitlines()] or [dict(identity)]
            if not isinstance(first, dict):
                raise TypeError("the first line is no object")
            for line in lines:
                scores = (
                    Scores(float(line["psnr"]), float(line["ssim"])) if "psnr" in line else None
                )
                self._scores[line["name"]] = line["files"], scores
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._path}: is damaged; choose another --output") from error
        check_same(self._path.parent, first, identity)

    def holds(self, name: str, files: Iterable[Path]) -> bool:
        """Whether a picture is here, and its files have not changed since."""
        return name in self._scores and self._scores[name][0] == _stamp(files)

    def scores(self, name: str) -> Scores | None:
        """The scores of a picture that is here; None if it has none."""
        return self._scores[name][1]

    def add(self, name: str, files: Iterable[Path], scores: Scores | None) -> None:
        """Writes to the disk that a picture is done, and its scores."""
        stamp = _stamp(files)
        self._scores[name] = stamp, scores
        # JSON has no infinity: it is a string here, which float() reads.
        values = {key: str(value) for key, value in (scores._asdict() if scores else {}).items()}
        self._append({"name": name, **values, "files": stamp})

    def close(self) -> None:
        # Closing tries again to write what could not be written, which has been told.
        with contextlib.suppress(OSError):
            self._file.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.close()
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error


def check_same(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises a UserError unless what a folder's scores depend on is the same as now."""
    now = json.loads(json.dumps(now))
    keys = [key for key in {**now, **was} if was.get(key) != now.get(key)]
    if keys:
        different = ", ".join(f"{key} {was.get(key)}, now {now.get(key)}" for key in keys)
        raise another(folder, f" ({different})")


def another(folder: Path, why: str = "") -> UserError:
    """What is raised where a folder of results is not that of this evaluation."""
    return UserError(f"{folder}: holds another evaluation{why}; choose another --output")


def _stamp(files: Iterable[Path]) -> str:
    """Sizes and times of change of files; of one that has gone, that."""

    def one(path: Path) -> str:
        try:
            stat = path.stat()
        except OSError:
            return "gone"
        return f"{stat.st_size}@{stat.st_mtime_ns}"

    return " ".join(map(one, files))
