"""Which pictures a command line means, and where their restored versions go."""

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dgunet_jax.data.folders import is_picture, walk
from dgunet_jax.errors import UserError
from dgunet_jax.images.stored import ENDINGS
from dgunet_jax.restoration.plan import Size


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
    """The files that `arguments` mean: files, folders with all that is in them, and patterns.

    A pattern has *, ? or [ (** for folders at any depth); what it matches keeps its place below the
    part before the first of them. In folders, hidden files and `output` are left out.

    Returns:
      The files, each once, and one line for each argument that means none and for each folder that
      cannot be read.
    """
    found: dict[Path, Found] = {}
    failures = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            files = list(_walk(path, output, failures))
            if not files:
                failures.append(f"{path}: there are no files in this folder")
        elif path.exists() or not glob.has_magic(str(argument)):
            files = [Found(path, Path(path.name), meant=True)]
        else:
            files = list(_match(path, output, failures))
            if not files:
                failures.append(f"{path}: no file matches")
        for each in files:
            found.setdefault(each.path, each)
    return list(found.values()), failures


def _walk(
    folder: Path, output: Path | None, failures: list[str], start: Path | None = None
) -> Iterator[Found]:
    """The files in a folder and, links being followed, in those in it."""
    for path in walk(folder, lambda path: _same(path, output), failures):
        yield Found(path, path.relative_to(start or folder), is_picture(path))


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and path.samefile(other)


def _match(pattern: Path, output: Path | None, failures: list[str]) -> Iterator[Found]:
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    start = Path(*parts[:fixed])
    for name in sorted(glob.glob(str(pattern), recursive=True)):
        path = Path(name)
        if any(_same(parent, output) for parent in path.parents):
            continue
        if path.is_dir():
            if "**" not in parts:  # what ** finds below it is matched by itself
                yield from _walk(path, output, failures, start)
        else:
            yield Found(path, path.relative_to(start), meant=True)


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
    output: Path,
    *,
    ending: str | None = ".png",
    suffix: str = "",
    compare: bool = False,
    stages: bool = False,
    kept: Iterable[Path] = (),
) -> list[Job]:
    """Where everything is written: `output`/place/NAME`suffix``ending`.

    Pictures whose outputs would have one name (a.jpg and a.png) keep their ending before it.

    Args:
      ending: of the files, with the dot; None: each input's own.
      kept: files that are inputs too, and cannot be read.

    Raises:
      UserError: an output would replace an input, or another output.
    """

    def job(source: Input, name: str) -> Job:
        own = ENDINGS.get(source.path.suffix.lower(), ".png")
        base = output / source.place.parent
        return Job(
            source.path,
            source.size,
            base / f"{name}{suffix}{ending or own}",
            base / f"{name}{suffix}_compare.png" if compare else None,
            base / f"{name}{suffix}_stages.png" if stages else None,
        )

    def stem(source: Input) -> str:
        known = source.place.suffix.lower() in ENDINGS
        return source.place.stem if known else source.place.name

    inputs = list(inputs)
    jobs = [job(source, stem(source)) for source in inputs]
    uses = Counter(target for each in jobs for target in each.targets)
    jobs = [
        job(source, source.place.name) if any(uses[t] > 1 for t in each.targets) else each
        for source, each in zip(inputs, jobs, strict=True)
    ]
    sources = {path.resolve() for path in (*(source.path for source in inputs), *kept)}
    taken: dict[Path, Path] = {}
    for each in jobs:
        for target in each.targets:
            if target.resolve() in sources:
                raise UserError(f"{target}: is an input; choose another output folder or a suffix")
            if target in taken:
                raise UserError(f"{each.path}: {target} is an output of {taken[target]} too")
            taken[target] = each.path
    return jobs
