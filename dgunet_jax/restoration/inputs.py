"""Which pictures a command line means, and where their restored versions go."""

import dataclasses
import fnmatch
import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dgunet_jax.data.folders import folders, is_folder, is_picture, real, same, walk
from dgunet_jax.images import ENDINGS
from dgunet_jax.restoration.shapes import Size
from dgunet_jax.system.arrays import is_array_file
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.storage import as_path, is_remote


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that may be a picture.

    Attributes:
      place: where it stands below the folder it was found in.
      meant: whether it must be a picture, since it was named or its name says so.
    """

    path: Path
    place: Path
    meant: bool


@dataclasses.dataclass(frozen=True)
class Input:
    """A file that is a picture.

    Attributes:
      place: where it stands below the folder it was found in.
      size: height and width, pixels.
    """

    path: Path
    place: Path
    size: Size


def find(
    arguments: Sequence[str | os.PathLike[str]], output: Path | None
) -> tuple[list[Found], list[str]]:
    """Find the files that `arguments` mean: files, folders with all that is in them, and patterns.

    A pattern has *, ? or [ (** for folders at any depth); what it matches keeps its place below the
    part before the first of them. In folders, hidden files and `output` are left out, and each real
    folder is looked at once, however many links lead to it.

    Returns:
      The files, each once, and one line for each argument that means none and for each folder and
      link that cannot be read.
    """
    found: dict[Path, Found] = {}
    failures: list[str] = []
    for argument in arguments:
        path, told = as_path(argument), len(failures)
        try:
            if is_folder(path):
                files = list(_walk(path, output, failures))
                if not files and len(failures) == told:
                    failures.append(f"{path}: there are no files in this folder")
            elif path.exists() or not glob.has_magic(str(argument)):
                files = [Found(path, Path(path.name), meant=True)]
            else:
                files = list(_match(path, output, failures))
                if not files and len(failures) == told:
                    failures.append(f"{path}: no file matches")
        except UserError as error:
            failures.append(str(error))
            continue
        for each in files:
            found.setdefault(each.path, each)
    return list(found.values()), failures


def _walk(
    folder: Path,
    output: Path | None,
    failures: list[str],
    start: Path | None = None,
    seen: set[tuple[int, int]] | None = None,
) -> Iterator[Found]:
    """The files in a folder and, links being followed, in those in it."""
    for path in walk(folder, failures, lambda path: _same(path, output), seen):
        yield Found(path, path.relative_to(start or folder), is_picture(path))


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and same(path, other)


def _match(pattern: Path, output: Path | None, failures: list[str]) -> Iterator[Found]:
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    start, seen = pattern.parents[len(parts) - fixed - 1], set()
    if not is_folder(start) or any(_same(each, output) for each in (start, *start.parents)):
        return
    for path in _Pattern(output, failures).matches(start, parts[fixed:]):
        if not (path.is_dir() if is_remote(path) else os.path.isdir(path)):
            yield Found(path, path.relative_to(start), meant=True)
        elif "**" not in parts:  # what ** finds below it is matched by itself
            yield from _walk(path, output, failures, start, seen)


@dataclasses.dataclass
class _Pattern:
    """What matches a pattern as `glob` has it, but for links: each real folder comes once.

    Attributes:
      output: a folder that is left out.
      failures: gets one line for each folder that cannot be read.
      seen: how many parts were left in which real folder.
    """

    output: Path | None
    failures: list[str]
    seen: set[tuple[int, int, int]] = dataclasses.field(default_factory=set)

    def matches(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        """What in a folder matches the parts of a pattern."""
        first, rest = parts[0], parts[1:]
        if not self._is_new(folder, len(parts)):
            return
        if first == "**":
            for here, files in folders(folder, self.failures, self._left_out):
                yield from self.matches(here, rest) if rest else files
            return
        for path in self._named(folder, first):
            if self._left_out(path):
                continue
            if not rest:
                yield path
            elif self._is_folder(path):
                yield from self.matches(path, rest)

    def _left_out(self, path: Path) -> bool:
        return _same(path, self.output)

    def _is_new(self, folder: Path, left: int) -> bool:
        status = folder.stat()
        key = left, status.st_dev, status.st_ino
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def _is_folder(self, path: Path) -> bool:
        try:
            return is_folder(path)
        except UserError as error:
            self.failures.append(str(error))
            return False

    def _named(self, folder: Path, part: str) -> list[Path]:
        """What in a folder has a name that a part of a pattern matches, links last."""
        try:
            if not glob.has_magic(part):
                (folder / part).lstat()
                return [folder / part]
            found = [path for path in folder.iterdir() if fnmatch.fnmatch(path.name, part)]
        except FileNotFoundError:
            return []
        except OSError as error:
            self.failures.append(f"{folder}: cannot be read: {reason(error)}")
            return []
        shown = [path for path in found if part[0] == "." or path.name[0] != "."]
        return sorted(shown, key=lambda path: (path.is_symlink(), path))


@dataclasses.dataclass(frozen=True)
class Job:
    """A picture to restore and the files to write.

    Attributes:
      size: its height and width, pixels.
      restored: the restored picture.
      compared: input and restored side by side; None: not wanted.
      stages: all estimates side by side; None: not wanted.
    """

    path: Path
    size: Size
    restored: Path
    compared: Path | None
    stages: Path | None

    @property
    def targets(self) -> list[Path]:
        return [path for path in (self.restored, self.compared, self.stages) if path is not None]


def place(
    inputs: Iterable[Input],
    output: Path | None,
    *,
    ending: str | None = ".png",
    suffix: str = "",
    compare: bool = False,
    stages: bool = False,
    kept: Iterable[Path] = (),
) -> list[Job]:
    """Where everything is written: `output`/place/NAME`suffix``ending`, or beside the input.

    Pictures whose outputs would have one name (a.jpg and a.png) keep their ending before it.

    Args:
      output: a folder; None: that of each input.
      ending: of the files, with the dot; None: each input's own.
      kept: files that are inputs too, and cannot be read.

    Raises:
      UserError: an output would replace an input, or another output.
    """

    def job(source: Input, name: str) -> Job:
        own = ENDINGS.get(source.path.suffix.lower(), ".png")
        base = source.path.parent if output is None else output / source.place.parent
        return Job(
            source.path,
            source.size,
            base / f"{name}{suffix}{ending or own}",
            base / f"{name}{suffix}_compare.png" if compare else None,
            base / f"{name}{suffix}_stages.png" if stages else None,
        )

    def stem(source: Input) -> str:
        known = source.place.suffix.lower() in ENDINGS or is_array_file(source.place)
        return source.place.stem if known else source.place.name

    inputs = list(inputs)
    key = _folded if _folds_names(output or Path()) else str  # of two names for one file
    jobs = [job(source, stem(source)) for source in inputs]
    uses = Counter(key(target) for each in jobs for target in each.targets)
    jobs = [
        job(source, source.place.name) if any(uses[key(t)] > 1 for t in each.targets) else each
        for source, each in zip(inputs, jobs, strict=True)
    ]
    sources = {_identity(path) for path in (*(source.path for source in inputs), *kept)}
    taken: dict[str, Path] = {}
    for each in jobs:
        for target in each.targets:
            if _identity(target) in sources:
                raise UserError(f"{target}: is an input; choose another output folder or a suffix")
            if (other := taken.setdefault(key(target), each.path)) is not each.path:
                raise UserError(f"{each.path}: {target} is an output of {other} too")
    return jobs


def _identity(path: Path) -> object:
    """What tells a file from all others, whatever it is called."""
    try:
        status = path.stat()
    except OSError:
        return real(path)
    return status.st_dev, status.st_ino


def _folds_names(folder: Path) -> bool:
    """Whether "a" and "A" are one file in a folder, or where it would be made."""
    if is_remote(folder):
        return False
    for place in (folder.absolute(), *folder.absolute().parents):
        name = place.name.swapcase()
        if name != place.name and os.path.exists(place):
            return same(place.with_name(name), place)
    return False


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path).casefold())
