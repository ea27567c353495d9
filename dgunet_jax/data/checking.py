"""Which training pictures a run uses: decided before its first step, and kept while it goes on."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.sources import Collection, Source
from dgunet_jax.system.errors import UserError, counted, listed, reason
from dgunet_jax.system.files import read_bytes, replacing

FILE = "pictures.json"  # in a run's folder

_EVERY = 10  # seconds between lines that tell how far the check is


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Some pictures of a source, in an order of their own; a `Source`.

    Attributes:
      source: where they come from.
      indices: of each picture there.
    """

    source: Source
    indices: Sequence[int]

    @property
    def pairs(self) -> bool:
        return self.source.pairs

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])

    def size(self, index: int) -> tuple[int, int]:
        return self.source.size(self.indices[index])

    def read(self, index: int) -> tuple[NDArray[np.uint8], ...]:
        return self.source.read(self.indices[index])


def choose(
    source: Collection,
    config: DataConfig,
    folder: Path,
    *,
    begun: bool,
    write: bool,
    say: Callable[[str], None],
    name: str = "",
) -> Source:
    """Choose the pictures that a run uses, so that its batches are the same whenever it goes on.

    A run that begins uses all pictures but the bad ones, and writes their names into FILE. One that
    goes on uses these, in their order: for one that is missing or has become bad stands the next
    one that has not; those that are new are not used. What was found good is not decoded again
    until its file changes.

    Args:
      source: the pictures that there are.
      config: `check` says whether they are decoded now, and `skip_bad` how many may be bad or
        missing.
      folder: the run's; it exists.
      begun: whether the run has checkpoints.
      write: whether this process writes FILE.
      say: is told what takes time, and what is left out.
      name: of one of several sources, which stands in its file's name.

    Returns:
      The source, or those of its pictures that are used.

    Raises:
      UserError: in one line, all pictures that are bad or missing, if they are more than may be; or
        FILE cannot be read or written.
    """
    path = folder / (FILE if not name else f"pictures-{name}.json")
    record = _read(path)
    known = set(record["checked"])
    bad = dict(source.bad)
    try:
        if config.check or config.skip_bad:
            _check(source, bad, known, say)
    finally:
        if write and known != set(record["checked"]):
            _write(path, {**record, "checked": sorted(known)})
    keys = source.keys()
    before = record["pictures"] if begun else None
    if keys is None or before is None:
        _tell_bad(bad, config, say)
        used = [i for i in range(len(source)) if i not in bad]
    else:
        used = _as_before(before, keys, bad, config, folder, say)
    if not used:
        raise UserError("none of the training pictures can be used")
    if write and before is None:
        names = None if keys is None else [keys[i] for i in used]
        _write(path, {"pictures": names, "checked": sorted(known)})
    return source if used == [*range(len(source))] else Chosen(source, used)


def _as_before(
    before: Sequence[str],
    keys: Sequence[str],
    bad: Mapping[int, str],
    config: DataConfig,
    folder: Path,
    say: Callable[[str], None],
) -> list[int]:
    """The indices of the pictures that a run began with."""
    place = {key: i for i, key in enumerate(keys)}
    known = {*before}
    new = [key for key in keys if key not in known]
    missing = [key for key in before if key not in place]
    if len(missing) > config.skip_bad:
        added = f"; new are ({len(new)}): {listed(new)}" if new else ""
        raise UserError(
            f"{folder}: its run began with other training pictures; missing are ({len(missing)}):"
            f" {listed(missing)}{added}; put the missing ones back, let"
            f" data.skip_bad={len(missing)} go on without them, or give the run as init_from and"
            " choose another workdir"
        )
    _tell_bad({i: why for i, why in bad.items() if keys[i] in known}, config, say, missing)
    if new := [key for key in new if place[key] not in bad]:
        say(f"not used, since the run began without them ({len(new)}): {listed(new)}")
    usable = [place[key] if key in place and place[key] not in bad else None for key in before]
    return _filled(usable)


def _filled(indices: Sequence[int | None]) -> list[int]:
    """Indices, with the next one that there is, or the first, in place of those that are None."""
    filled, following = [], next((i for i in indices if i is not None), None)
    for index in reversed(indices):
        following = following if index is None else index
        filled.append(following)
    return [i for i in reversed(filled) if i is not None]


def _tell_bad(
    bad: Mapping[int, str],
    config: DataConfig,
    say: Callable[[str], None],
    missing: Sequence[str] = (),
) -> None:
    """Say which pictures are left out, or raise a UserError if they are too many."""
    problems = [*dict.fromkeys(bad[i] for i in sorted(bad))]
    problems += [f"{key}: missing" for key in missing]
    count = len(bad) + len(missing)
    if count > config.skip_bad:
        raise UserError(
            f"training pictures that cannot be used ({count}): {listed(problems)}; mend them, or"
            f" let data.skip_bad={count} leave them out"
        )
    if count:
        say(f"left out of training ({count} of at most {config.skip_bad}): {listed(problems)}")


def _check(
    source: Collection, bad: dict[int, str], known: set[str], say: Callable[[str], None]
) -> None:
    """Decode the pictures that are not known to be good; add to the bad ones, and to the known."""
    stamps = {i: _short(source.stamp(i)) for i in range(len(source)) if i not in bad}
    waiting = [i for i, stamp in stamps.items() if stamp not in known]
    if not waiting:
        return
    say(f"checking {counted(len(waiting), 'training picture')} …")
    told = time.monotonic()
    for done, (index, problem) in enumerate(problems(source.read, waiting), 1):
        if problem is None:
            known.add(stamps[index])
        else:
            bad[index] = problem
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            say(f"checked {done} of {len(waiting)}")


def problems(
    function: Callable[[int], object], indices: Sequence[int]
) -> Iterator[tuple[int, str | None]]:
    """Call a function for all indices, several at a time, and yield what UserErrors it raises.

    Args:
      function: what it returns is not kept.
    """

    def problem(index: int) -> str | None:
        try:
            function(index)
        except UserError as error:
            return str(error)
        return None

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from zip(indices, pool.map(problem, indices), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _short(stamp: str) -> str:
    return hashlib.sha256(os.fsencode(stamp)).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"pictures": None, "checked": []}
    try:
        record = json.loads(read_bytes(path))
        pictures, checked = record["pictures"], record["checked"]
        if not all(isinstance(text, str) for text in (*(pictures or ()), *checked)):
            raise TypeError("it holds something else than names")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: is damaged: {reason(error)}; if the training pictures are the same as when"
            " the run began, remove it"
        ) from error
    return record


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(record, indent=0).encode())
