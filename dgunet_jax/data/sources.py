"""Training pictures by index, decoded and kept."""

import dataclasses
import importlib.util
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.config import RECORDS_PREFIX, photograph_names
from dgunet_jax.data.folders import pictures_below
from dgunet_jax.data.pairs import Pattern, find_pairs, holds_pairs
from dgunet_jax.images import read_header, read_rgb
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.files import user_path
from dgunet_jax.system.memory import total_memory

# What scikit-image states of each one's rights, in the docstrings of `skimage.data`. Its
# stereo pair (motorcycle) comes without such a statement and is therefore not here.
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",  # NASA, public domain
    "chelsea": "chelsea.png",  # Stefan van der Walt, CC0
    "coffee": "coffee.png",  # Rachel Michetti, CC0
    "hubble_deep_field": "hubble_deep_field.jpg",  # NASA, public domain
    "ihc": "ihc.png",  # Center for Microscopy and Molecular Imaging, no known restrictions
    "retina": "retina.jpg",  # Mikael Häggström, CC0
    "rocket": "rocket.jpg",  # SpaceX, public domain
}

_THREADS = 8  # that look at files; most of the time they wait


class Source(Protocol):
    """Clean pictures, or pairs of a degraded and a clean one, by index: 0 ≤ index < len(source).

    All methods may be called from several threads at once, and give the same every time.
    """

    @property
    def pairs(self) -> bool:
        """Whether it holds pairs."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a picture or pair is reported under."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Height and width in pixels, known without decoding."""
        ...

    def read(self, index: int) -> tuple[NDArray[np.uint8], ...]:
        """Return the clean picture alone, or the degraded and the clean one, RGB (H, W, 3) each.

        Raises:
          UserError: it cannot be decoded; the message names the file.
        """
        ...


class Collection(Source, Protocol):
    """A source whose pictures are told from others when a run goes on, and may be bad."""

    @property
    def bad(self) -> Mapping[int, str]:
        """Why pictures cannot be read, by index, as far as is known without decoding."""
        ...

    def keys(self) -> list[str] | None:
        """Return what each picture is known by, wherever its folder lies; None if by its index."""
        ...

    def stamp(self, index: int) -> str:
        """Return what changes when the file of a picture does."""
        ...


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of a clean picture, or of a degraded one and its clean one, and their name."""

    name: str
    paths: tuple[Path, ...]


class FileSource:
    """A `Collection` of picture files.

    Args:
      files: clean pictures or pairs, in the order of their indices.
      cache_bytes: decoded pictures that are kept in memory; None: a quarter of the machine's.
      strict: whether bad ones are an error; else they are in `bad`.

    Raises:
      UserError: in one line, all files that cannot be read, as far as can be told without decoding
        them, and all pairs of pictures of different sizes.
    """

    def __init__(
        self, files: Sequence[Files], cache_bytes: int | None = None, *, strict: bool = True
    ):
        self._files = tuple(files)
        self._sizes, self.bad = _look_at(self._files)
        if strict and (problems := [*dict.fromkeys(self.bad.values())]):
            count = f"unusable pictures ({len(problems)}): " if len(problems) > 1 else ""
            raise UserError(count + listed(problems))
        self._decoder = Decoder(quarter_of_memory() if cache_bytes is None else cache_bytes)

    @property
    def pairs(self) -> bool:
        return any(len(files.paths) == 2 for files in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index].name

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def read(self, index: int) -> tuple[NDArray[np.uint8], ...]:
        size = self._sizes[index]
        return tuple(self._decoder.read(path, size) for path in self._files[index].paths)

    def keys(self) -> list[str] | None:
        seen: Counter[str] = Counter()
        keys = []
        for files in self._files:
            key = files.name + files.paths[-1].suffix
            seen[key] += 1
            keys.append(key if seen[key] == 1 else f"{key} ({seen[key]})")
        return keys

    def stamp(self, index: int) -> str:
        return stamp(self._files[index].paths)


def open_source(
    where: str,
    *,
    pairs: bool,
    cache_bytes: int | None = None,
    pattern: Pattern | None = None,
    strict: bool = True,
) -> Collection:
    """Open the pictures or pairs that a setting means.

    Args:
      where: a folder, or "photographs:" and names of some of scikit-image's, with commas between,
        or "tfds:" and what `RecordSource` takes.
      pairs: whether the folder is one of pairs (see `pairs.find_pairs`). Else all pictures in it
        are clean ones, at any depth, in the order of their paths.
      cache_bytes: as `FileSource` takes it; records are not kept.
      pattern: of the names of the pairs in a folder.
      strict: as `FileSource` takes it.

    Returns:
      The source; every file of a folder has been looked at, and none decoded.

    Raises:
      UserError: there is no such folder, it is not of the kind, or there is something in it that
        cannot be used.
    """
    names = photograph_names(where)
    if names is not None:
        if pairs:
            raise UserError(f"{where}: the photographs are no pairs; sigma adds noise to them")
        return photographs(names, cache_bytes)
    if where.startswith(RECORDS_PREFIX):
        from dgunet_jax.data.records import RecordSource  # TFDS takes half a second to import

        return RecordSource(where.removeprefix(RECORDS_PREFIX), pairs=pairs)
    folder = user_path(where)
    if not pairs and holds_pairs(folder):
        raise UserError(
            f"{folder}: holds pairs; name the folder of the clean ones, or leave sigma out"
        )
    files = files_in(folder, pairs=pairs, pattern=pattern)
    return FileSource(files, cache_bytes, strict=strict)


def files_in(folder: Path, *, pairs: bool, pattern: Pattern | None = None) -> list[Files]:
    """Find the pairs in a folder, or all pictures in it, as `open_source` takes them.

    Raises:
      UserError: there is no such folder, or it is not of the kind.
    """
    if pairs:
        found = find_pairs(folder, pattern)
        return [Files(pair.name, (pair.input, pair.target)) for pair in found]
    return [Files(_name(path, folder), (path,)) for path in pictures_below(folder)]


def files_of_any_kind(folder: Path, pattern: Pattern | None = None) -> list[Files]:
    """Find the pairs in a folder that holds such or where a pattern is given, else all pictures.

    Raises:
      UserError: as `files_in` does.
    """
    return files_in(folder, pairs=pattern is not None or holds_pairs(folder), pattern=pattern)


def photographs(
    names: Sequence[str] = tuple(PHOTOGRAPHS), cache_bytes: int | None = None
) -> FileSource:
    """Freely licensed colour photographs that every installation of scikit-image holds.

    They are read from its folder: scikit-image is not imported and nothing is downloaded.

    Args:
      names: keys of `PHOTOGRAPHS`.
      cache_bytes: as `FileSource` takes it.

    Returns:
      A source of these pictures in this order.

    Raises:
      UserError: an unknown name, or scikit-image is not installed.
    """
    for name in names:
        if name not in PHOTOGRAPHS:
            raise UserError(f"unknown photograph {name!r}; known are {', '.join(PHOTOGRAPHS)}")
    # importlib.resources.files would import the package.
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise UserError("the photographs are scikit-image's: install it (pip install scikit-image)")
    folder = Path(package.submodule_search_locations[0], "data")
    return FileSource([Files(name, (folder / PHOTOGRAPHS[name],)) for name in names], cache_bytes)


def _name(path: Path, folder: Path) -> str:
    return "-".join(path.relative_to(folder).with_suffix("").parts)


def stamp(paths: Sequence[Path]) -> str:
    """Return where files lie, how large they are and when they were changed."""
    stats = [(path.absolute(), path.stat()) for path in paths]
    return " ".join(f"{path} {stat.st_size}@{stat.st_mtime_ns}" for path, stat in stats)


def _look_at(files: Sequence[Files]) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Height and width of every picture and pair, from the headers of the files; and the bad ones.

    The size of a bad one is (0, 0).
    """
    paths = dict.fromkeys(path for each in files for path in each.paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = dict(zip(paths, pool.map(_size, paths), strict=True))
    found, bad = [], {}
    for i, each in enumerate(files):
        known = {path: size for path in each.paths if isinstance(size := sizes[path], tuple)}
        problems = [str(size) for path in each.paths if isinstance(size := sizes[path], UserError)]
        if len({*known.values()}) > 1:
            stated = (f"{path} is {width}×{height}" for path, (height, width) in known.items())
            problems.append(f"{' and '.join(stated)}; the pictures of a pair must have one size")
        if problems:
            bad[i] = " and ".join(problems)
        found.append((0, 0) if problems else next(iter(known.values())))
    return found, bad


def _size(path: Path) -> tuple[int, int] | UserError:
    try:
        header = read_header(path)
    except UserError as error:
        return error
    if header.bits > 8:
        return UserError(f"{path}: has {header.bits} bits per channel; only 8 are trained on")
    return header.height, header.width


class Decoder:
    """Decodes pictures, and keeps the first ones in memory as long as there is room.

    None is ever thrown out: an epoch asks for each picture once, and in such an order keeping those
    that were used last finds fewer of them again than keeping any.

    Args:
      room: bytes of decoded pictures that are kept.
    """

    def __init__(self, room: int):
        self._room = room
        self._chosen: set[Path] = set()  # kept, or being decoded for it
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a picture; may be called from several threads at once.

        Args:
          path: the picture.
          size: the height and width that it is known to have.

        Returns:
          Read-only uint8 RGB (H, W, 3).

        Raises:
          UserError: as `images.read_rgb` does, or the picture has another size.
        """
        image = self._kept.get(path)
        if image is None:
            chosen = self._choose(path, size)
            image = read_rgb(path)
            if image.shape[:2] != size:
                raise UserError(
                    f"{path}: has changed its size since the training pictures were looked at"
                )
            image.flags.writeable = False
            if chosen:
                self._kept[path] = image
        return image

    def _choose(self, path: Path, size: tuple[int, int]) -> bool:
        """Whether a picture is to be kept that is about to be decoded."""
        needed = 3 * size[0] * size[1]
        with self._lock:
            if path in self._chosen or needed > self._room:
                return False
            self._room -= needed
            self._chosen.add(path)
        return True


def quarter_of_memory() -> int:
    """Return a quarter of the memory of this machine or, if it has less, of this container; bytes.

    It is 1 GiB if the system does not report its memory.
    """
    total = total_memory()
    return 1 << 30 if total is None else total // 4
