"""Scoring samples one after the other, so that a run that was stopped goes on."""

import contextlib
import dataclasses
import heapq
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from dgunet_jax.evaluation import protocols
from dgunet_jax.evaluation.samples import Restored, Result, Sample, Source
from dgunet_jax.evaluation.scores import Scores, compare
from dgunet_jax.images.picture import Picture, to_uint8
from dgunet_jax.images.writing import write
from dgunet_jax.restoration.pipeline import Progress, ahead
from dgunet_jax.restoration.plan import pixels
from dgunet_jax.system.errors import UserError, printable, reason
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


MOST = 3  # of either kind


class Showcase:
    """Keeps the worst and the best of the pictures it is shown."""

    def __init__(self):
        self._kept: dict[str, tuple[float, Restored]] = {}

    def show(self, scores: Scores, restored: Restored) -> None:
        self._kept[restored.sample.name] = scores.psnr, restored
        worst, best = extremes({name: psnr for name, (psnr, _) in self._kept.items()})
        self._kept = {name: self._kept[name] for name in (*worst, *best)}

    def pictures(
        self, names: Sequence[str], samples: Mapping[str, Sample], source: Source
    ) -> dict[str, Restored]:
        """The restored pictures of these names.

        Those that were not shown, because they were scored in an earlier run, are restored again;
        what fails is left out.
        """
        found = {name: self._kept[name][1] for name in names if name in self._kept}
        missing = [samples[name] for name in names if name not in found]
        for turn in source.turns(missing):
            for sample, restored in source.each(turn, lambda line: None):
                if not isinstance(restored, UserError):
                    found[sample.name] = restored
        return found


def extremes(psnr: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Names of the worst pictures, the worst first, and of the best others, the best first."""

    def key(name: str) -> tuple[float, str]:
        return psnr[name], name

    worst = heapq.nsmallest(min(MOST, (len(psnr) + 1) // 2), psnr, key=key)
    best = heapq.nlargest(MOST, (name for name in psnr if name not in worst), key=key)
    return worst, best


class Judge(Protocol):
    """What becomes of restored pictures."""

    def complete(self, sample: Sample) -> bool:
        """Whether all that is written of a picture is there."""
        ...

    def judge(self, restored: Restored) -> Scores | None:
        """The scores of a picture; None if nobody here can tell."""
        ...


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Pictures are compared with their targets, as a protocol says."""

    protocol: protocols.Protocol

    def complete(self, sample: Sample) -> bool:
        return True

    def judge(self, restored: Restored) -> Scores:
        if restored.target is None:
            raise UserError("there is no target")
        return compare(self.protocol, restored.image, restored.target)


def score(
    judge: Judge,
    samples: Sequence[Sample],
    source: Source,
    output: Path,
    identity: Mapping[str, Any],
    *,
    save_images: bool,
) -> tuple[list[tuple[str, Scores | None]], list[str], Showcase]:
    """Scores pictures; what fails is told, and the rest is done.

    Args:
      judge: who.
      samples: which.
      source: who restores them.
      output: folder in which the scores are kept, and found by the next run.
      identity: all that the scores depend on besides the pictures' files; JSON values.
      save_images: whether to write the restored pictures to images/ in it, as PNG. What is there of
        a picture that is scored again is removed.

    Returns:
      Names and scores, in the order of `samples`; one line for each picture that failed; and the
      worst and best of the pictures that were scored now.

    Raises:
      UserError: the folder holds another evaluation, or cannot be written.
    """
    showcase, failures = Showcase(), []

    def image_path(sample: Sample) -> Path:
        return output / "images" / f"{sample.name}.png"

    def scored(result: Result) -> Scores | None:
        sample, restored = result
        _remove(image_path(sample))  # of an earlier score
        if isinstance(restored, UserError):
            raise restored
        try:
            restored.check()
            scores = judge.judge(restored)
        except UserError as error:
            raise UserError(f"{sample.files[0]}: {error}") from error
        if save_images:
            write(image_path(sample), Picture(to_uint8(restored.image)))
        return scores

    with contextlib.closing(Journal(output / FILE, identity)) as journal:
        known: dict[str, Scores | None] = {}
        for sample in samples:
            written = judge.complete(sample) and (not save_images or image_path(sample).exists())
            if written and journal.holds(sample.name, source.files(sample)):
                known[sample.name] = journal.scores(sample.name)
        waiting = [sample for sample in samples if sample.name not in known]
        with Progress(len(waiting), sum(pixels(sample.size) for sample in waiting)) as progress:
            if known:
                progress.say(f"{len(known)} of {len(samples)} pictures are scored already")
            turns = source.turns(waiting)
            results = (source.each(turn, progress.say) for turn in turns)
            scored_turns = (ahead(scored, each) for each in results)
            for (sample, restored), scores in chain.from_iterable(scored_turns):
                if isinstance(scores, UserError) or isinstance(restored, UserError):
                    failures.append(printable(scores))
                    progress.advance(f"failed {sample.name}", pixels(sample.size))
                    continue
                journal.add(sample.name, source.files(sample), scores)
                known[sample.name] = scores
                line = sample.name
                if scores is not None:
                    showcase.show(scores, restored)
                    line = f"{sample.name}: {scores.psnr:.3f} dB, SSIM {scores.ssim:.4f}"
                progress.advance(line, pixels(sample.size))
    done = [(sample.name, known[sample.name]) for sample in samples if sample.name in known]
    return done, failures, showcase


def _remove(path: Path) -> None:
    """Removes a file, if there is one.

    Raises:
      UserError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {reason(error)}") from error
