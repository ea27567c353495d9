"""From samples to scores: each is restored, scored and written down at once.

A run that was stopped goes on where it ended.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dgunet_jax.data.folders import is_folder, visible
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.real_noise import Submission
from dgunet_jax.evaluation.samples import RestoredSample, Result, Sample, Source
from dgunet_jax.evaluation.scores import Scores, compare
from dgunet_jax.images import Picture, to_uint8, write
from dgunet_jax.restoration.pipeline import ahead
from dgunet_jax.restoration.shapes import pixels
from dgunet_jax.system.errors import UserError, printable, reason
from dgunet_jax.system.files import read_bytes
from dgunet_jax.system.hosts import ALL, Share
from dgunet_jax.system.storage import Growing, is_remote
from dgunet_jax.system.terminal import Progress

_JOURNALS = re.compile(r"scores(\.[0-9]+)?\.jsonl")
MOST = 3  # samples shown, of the worst and of the best


class Journal:
    """Scores in a file, a line of JSON for each sample.

    The first line says what was evaluated. A line that was cut off by a crash is removed. Other
    processes write their samples into files beside it, which are read too.

    Args:
      path: the file; it need not exist.
      identity: all that the scores depend on besides the samples' files: JSON values.

    Raises:
      UserError: a file is of another evaluation, is damaged or cannot be used.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self._path, self._identity = path, identity
        self._scores: dict[str, tuple[str, Scores | None]] = {}
        self._failures: dict[str, str] = {}
        length, complete = self._read(path) if path.exists() else (0, 0)
        self.read_others()
        if length > complete:
            os.truncate(path, complete)
        self._remote = Growing(path, keep=True) if is_remote(path) else None
        if not complete:
            self._append(identity)

    def read_others(self) -> None:
        """Read what other processes have written."""
        for path in journals(self._path.parent):
            if path != self._path:
                self._read(path)

    def _read(self, path: Path) -> tuple[int, int]:
        """Read a file; return its length, and that of its complete lines."""
        content = read_bytes(path)
        complete = content[: content.rfind(b"\n") + 1]
        if not complete:
            return len(content), 0
        try:
            first, *lines = [json.loads(line) for line in complete.splitlines()]
            if not isinstance(first, dict):
                raise TypeError("the first line is not an object")
            for line in lines:
                if "failure" in line:
                    self._failures[line["name"]] = str(line["failure"])
                    continue
                scored = "psnr" in line
                given = float(line["input"]) if "input" in line else None
                scores = Scores(float(line["psnr"]), float(line["ssim"]), given) if scored else None
                self._scores[line["name"]] = line["files"], scores
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}: is damaged; choose another --output") from error
        check_same(path.parent, first, self._identity)
        return len(content), len(complete)

    def holds(self, name: str, files: Iterable[Path]) -> bool:
        """Return whether a sample is here, and its files have not changed since."""
        return name in self._scores and self._scores[name][0] == _stamp(files)

    def failure(self, name: str) -> str | None:
        """Return why a sample that is not here could not be scored, if a process has told."""
        return self._failures.get(name)

    def scores(self, name: str) -> Scores | None:
        """Return the scores of a sample that is here; None if it has none."""
        return self._scores[name][1]

    def add(self, name: str, files: Iterable[Path], scores: Scores | None) -> None:
        """Write to the disk that a sample is done, and its scores."""
        stamp = _stamp(files)
        self._scores[name] = stamp, scores
        # JSON has no infinity: it is a string here, which float() reads.
        known = scores._asdict() if scores else {}
        values = {key: str(value) for key, value in known.items() if value is not None}
        self._append({"name": name, **values, "files": stamp})

    def fail(self, name: str, failure: str) -> None:
        """Write to the disk that a sample cannot be scored; the next run tries again."""
        self._failures[name] = failure
        self._append({"name": name, "failure": failure})

    def flush(self) -> None:
        """Write what is kept back for remote storage."""
        try:
            if self._remote is not None:
                self._remote.flush()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            if self._remote is not None:
                self._remote.write(json.dumps(dict(line)).encode() + b"\n")
                return
            with self._path.open("ab") as file:
                file.write(json.dumps(dict(line)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error


def journals(folder: Path) -> list[Path]:
    """Return the journals in a folder: that of the first process and those of others."""
    found = visible(folder) if is_folder(folder) else []
    return [path for path in found if _JOURNALS.fullmatch(path.name)]


def check_same(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a UserError unless what a folder's scores depend on is the same as now."""
    now = json.loads(json.dumps(dict(now)))
    keys = [key for key in {**now, **was} if was.get(key) != now.get(key)]
    if keys:
        different = ", ".join(f"{key} {was.get(key)}, now {now.get(key)}" for key in keys)
        raise another(folder, f" ({different})")


def another(folder: Path, why: str = "") -> UserError:
    """Return the error for a folder that holds the results of another evaluation."""
    return UserError(f"{folder}: holds another evaluation{why}; choose another --output")


def _stamp(files: Iterable[Path]) -> str:
    """Return the sizes and times of change of files; of one that is missing, "gone"."""
    stats = [path.stat() if path.exists() else None for path in files]
    return " ".join(f"{s.st_size}@{s.st_mtime_ns}" if s else "gone" for s in stats)


def extremes(psnr: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Return the names of the worst samples, worst first, and of the best others, best first."""
    order = sorted(psnr, key=lambda name: (psnr[name], name))
    count = min(MOST, (len(order) + 1) // 2)
    others = order[count:]
    return order[:count], others[::-1][:MOST]


@dataclasses.dataclass
class Scored:
    """What `score` returns.

    Attributes:
      images: names and scores, in the order of the samples.
      failures: one line for each sample that failed.
      kept: the worst and best of the samples that were scored now, by name.
      left: how many samples other processes have not come to yet.
    """

    images: list[tuple[str, Scores | None]] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    kept: dict[str, RestoredSample] = dataclasses.field(default_factory=dict)
    left: int = 0


def score(
    protocol: Protocol,
    samples: Sequence[Sample],
    source: Source,
    output: Path,
    identity: Mapping[str, Any],
    submission: Submission | None = None,
    *,
    save_images: bool = False,
    share: Share = ALL,
) -> Scored:
    """Score samples; what fails is reported, and the rest is done.

    Args:
      protocol: how.
      samples: which.
      source: what restores them.
      output: folder in which the scores are kept, and found by the next run.
      identity: all that the scores depend on besides the samples' files; JSON values.
      submission: what collects them for a server, where there are no targets.
      save_images: whether to write the restored images to images/ in `output`, as PNG. The image of
        a sample that is scored again is removed.
      share: which of the samples this process scores; the others' are read from their journals.

    Raises:
      UserError: the folder holds another evaluation, or cannot be written.
    """
    journal, result = Journal(output / f"scores{share.suffix}.jsonl", identity), Scored()
    psnr: dict[str, float] = {}  # of the samples that are kept

    def image_path(sample: Sample) -> Path:
        return output / "images" / f"{sample.name}.png"

    def scored(each: Result) -> Scores | None:
        sample, restored = each
        image_path(sample).unlink(missing_ok=True)  # of an earlier score
        if isinstance(restored, UserError):
            raise restored
        try:
            scores = _judge(protocol, restored, submission)
        except UserError as error:
            raise UserError(f"{sample.files[0]}: {error}") from error
        if save_images:
            write(image_path(sample), Picture(to_uint8(restored.image)))
        return scores

    def is_done(sample: Sample) -> bool:
        written = submission is None or submission.holds(sample)
        written = written and (not save_images or image_path(sample).exists())
        return written and journal.holds(sample.name, source.files(sample))

    own = share.of(samples)
    done = {each.name for each in own if is_done(each)}
    waiting = [sample for sample in own if sample.name not in done]
    with Progress(len(waiting), sum(pixels(sample.size) for sample in waiting)) as progress:
        if done:
            progress.say(f"{len(done)} of {len(own)} pictures are scored already")
        turns = (ahead(scored, turn) for turn in source.turns(waiting, progress.say))
        for (sample, restored), scores in chain.from_iterable(turns):
            if isinstance(scores, UserError) or isinstance(restored, UserError):
                journal.fail(sample.name, printable(scores))
                progress.advance(f"failed {sample.name}", pixels(sample.size))
                continue
            journal.add(sample.name, source.files(sample), scores)
            done.add(sample.name)
            if scores is not None:
                result.kept[sample.name], psnr[sample.name] = restored, scores.psnr
                psnr = {name: psnr[name] for name in chain(*extremes(psnr))}
                result.kept = {name: result.kept[name] for name in psnr}
            line = sample.name if scores is None else f"{sample.name}: {scores}"
            progress.advance(line, pixels(sample.size))
    journal.flush()
    journal.read_others()
    for sample in samples:
        if sample.name in done or is_done(sample):
            result.images.append((sample.name, journal.scores(sample.name)))
        elif (failure := journal.failure(sample.name)) is not None:
            result.failures.append(failure)
        else:
            result.left += 1
    return result


def _judge(
    protocol: Protocol, restored: RestoredSample, submission: Submission | None
) -> Scores | None:
    """Return the scores of an image, or add it to a submission.

    Raises:
      UserError: a value is not finite, or whatever `compare` and `Submission.add` raise.
    """
    bad = np.count_nonzero(~np.isfinite(restored.image))
    if bad:
        name = restored.sample.name
        raise UserError(f"the restored picture of {name} has {bad} values that are not finite")
    if submission is not None:
        return submission.add(restored)
    assert restored.target is not None  # only what goes to a server has none
    given = None if protocol.ratio is not None else restored.degraded
    return compare(protocol, restored.image, restored.target, given)
