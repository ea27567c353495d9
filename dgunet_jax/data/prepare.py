"""Training sets made of published ones: crops as files, and a check of what there is."""

import argparse
import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.pairs import Pattern, holds_pairs
from dgunet_jax.data.sources import Files, FileSource, files_in
from dgunet_jax.images import Picture, read_rgb, write
from dgunet_jax.system.errors import UserError, counted, reason
from dgunet_jax.system.files import read_bytes, replacing
from dgunet_jax.system.terminal import Progress, say, show

SETTINGS = "crops.json"  # in a folder of crops
_KINDS = ("input", "target")
_BLOCKS = ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb")  # files and their variables

Corner = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Crops:
    """Where squares are cut out of pictures.

    Attributes:
      side: of a crop, in pixels; of a smaller picture all is taken.
      step: from one crop to the next in a grid whose last ones end with the picture; or None.
      count: of random places in each picture; or None.
      seed: of these.
    """

    side: int
    step: int | None = None
    count: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("side", "step", "count"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")

    def corners(self, name: str, size: tuple[int, int]) -> list[Corner]:
        """Return the upper left pixels of a picture's crops.

        Random ones depend on the seed and the picture's name, not on other pictures.

        Args:
          name: of the picture.
          size: its height and width.
        """
        room = [max(0, side - self.side) for side in size]
        if self.count is not None:
            rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            drawn = [rng.integers(most + 1, size=self.count).tolist() for most in room]
            return list(zip(*drawn, strict=True))
        step = self.step or self.side
        rows, columns = ([*range(0, most, step), most] for most in room)
        return [(row, column) for row in rows for column in columns]


def cut(
    files: Sequence[Files], crops: Crops, folder: Path, threads: int | None = None
) -> list[str]:
    """Write the crops of pictures or pairs as PNG files, several pictures at a time.

    Crops of pairs are `folder`/input/NAME-000.png and so on, and the same places in target/; those
    of clean pictures lie in `folder` itself. Those that exist are not made again, so that the same
    call completes what was stopped.

    Args:
      files: the pictures or pairs, of 8 bits.
      crops: where.
      folder: of the results; it is made.
      threads: at work at the same time; None: as many as processors.

    Returns:
      One line for each picture or pair that cannot be cut.

    Raises:
      UserError: the folder cannot be written, or holds crops of other settings.
    """
    _keep_settings(folder, dataclasses.asdict(crops))
    source = FileSource(files, cache_bytes=0, strict=False)
    failures = [f"left out: {why}" for why in dict.fromkeys(source.bad.values())]
    waiting = [index for index in range(len(source)) if index not in source.bad]

    def one(index: int) -> int:
        places = crops.corners(source.name(index), source.size(index))
        kinds = _KINDS if len(files[index].paths) == 2 else ("",)
        paths = [
            [folder / kind / f"{source.name(index)}-{place:03}.png" for kind in kinds]
            for place in range(len(places))
        ]
        missing = [i for i, each in enumerate(paths) if not all(path.exists() for path in each)]
        images = source.read(index) if missing else ()
        for i in missing:
            top, left = places[i]
            for path, image in zip(paths[i], images, strict=True):
                write(path, Picture(image[top : top + crops.side, left : left + crops.side]))
        return len(missing)

    with Progress(len(waiting), len(waiting)) as progress:
        for index, made in _each(one, waiting, threads):
            name = source.name(index)
            if isinstance(made, UserError):
                failures.append(f"left out: {made}")
            progress.advance(f"failed {name}" if isinstance(made, UserError) else f"cut {name}", 1)
    return failures


def _each(
    function: Callable[[int], int], indices: Sequence[int], threads: int | None
) -> Iterator[tuple[int, int | UserError]]:
    """Yield what a function gives or raises, as the threads come to it."""

    def caught(index: int) -> int | UserError:
        try:
            return function(index)
        except UserError as error:
            return error

    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        futures = {pool.submit(caught, index): index for index in indices}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write what the crops of a folder are, or see that they are the same."""
    path = folder / SETTINGS
    if path.exists():
        try:
            before = json.loads(read_bytes(path))
        except ValueError as error:
            raise UserError(f"{path}: is damaged: {reason(error)}") from error
        if before != settings:
            raise UserError(
                f"{folder}: holds crops of other settings, {json.dumps(before)}; choose another"
                " folder"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {reason(error)}") from error
    with replacing(path) as file:
        file.write(json.dumps(settings).encode())


def write_blocks(source: Path, folder: Path) -> int:
    """Write SIDD's validation blocks as pairs of PNG files, and return how many there are.

    Args:
      source: the folder of ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat.
      folder: gets input/01-01.png to 40-32.png and the same in target/; those that exist stay.

    Raises:
      UserError: a file is missing or is another one.
    """
    import scipy.io

    count = 0
    for kind, name in zip(_KINDS, _BLOCKS, strict=True):
        path = source / f"{name}.mat"
        try:
            blocks: NDArray[np.uint8] = scipy.io.loadmat(path)[name]
        except FileNotFoundError as error:
            raise UserError(f"{path}: there is no such file") from error
        except Exception as error:  # whatever the reader raises on a damaged file
            raise UserError(f"{path}: cannot be read: {reason(error)}") from error
        if blocks.ndim != 5 or blocks.shape[4] != 3 or blocks.dtype != np.uint8:
            raise UserError(
                f"{path}: holds {blocks.dtype} {blocks.shape}; it must be uint8 (40, 32, 256,"
                " 256, 3)"
            )
        count = blocks.shape[0] * blocks.shape[1]
        for picture, block in np.ndindex(*blocks.shape[:2]):
            target = folder / kind / f"{picture + 1:02}-{block + 1:02}.png"
            if not target.exists():
                write(target, Picture(blocks[picture, block]))
    return count


def check(folder: Path, pattern: Pattern | None = None) -> tuple[str, list[str]]:
    """Decode all pictures or pairs of a folder.

    Returns:
      What there is, in one line, and one line for each that cannot be used.

    Raises:
      UserError: there is no such folder; or inputs without target and the like, all in one line.
    """
    pairs = pattern is not None or holds_pairs(folder)
    files = files_in(folder, pairs=pairs, pattern=pattern)
    source = FileSource(files, cache_bytes=0, strict=False)
    bad = dict(source.bad)
    sizes = sorted((source.size(i) for i in range(len(source)) if i not in bad), key=np.prod)

    def decoded(index: int) -> int:
        return sum(read_rgb(path).shape[0] > 0 for path in files[index].paths)

    waiting = [index for index in range(len(files)) if index not in bad]
    with Progress(len(waiting), len(waiting)) as progress:
        for index, found in _each(decoded, waiting, None):
            if isinstance(found, UserError):
                bad[index] = str(found)
            progress.advance(f"read {source.name(index)}", 1)
    text = counted(len(files), "pair" if pairs else "clean picture")
    if sizes:
        shown = [f"{width}×{height}" for height, width in (sizes[0], sizes[-1])]
        area = sum(height * width for height, width in sizes) / 1e6
        text += f", {shown[0]} to {shown[1]} pixels, {area:.1f} megapixels"
    return text, [*dict.fromkeys(bad[index] for index in sorted(bad))]


def run(options: argparse.Namespace) -> int:
    """Run `dgunet prepare`; return 0, or 2 if anything could not be used."""
    pattern = None if options.pairs is None else Pattern.parse(options.pairs)
    folder = options.folder
    if options.what == "check":
        text, failures = check(folder, pattern)
        show(f"{folder}: {text}")
    else:
        pairs = pattern is not None or holds_pairs(folder)
        count = options.count if options.what == "sidd" else None
        step = options.step if options.what == "crops" else None
        crops = Crops(options.side, step, count, options.seed)
        target = options.output
        if options.what == "sidd" and options.validation is not None:
            made = write_blocks(options.validation, target / "validation")
            say(f"wrote {counted(made, 'validation block')}")
        target = target / "train" if options.what == "sidd" else target
        failures = cut(files_in(folder, pairs=pairs, pattern=pattern), crops, target)
        show(f"train with --config.data.train={target}")
    for failure in failures:
        say(f"error: {failure}")
    return 2 if failures else 0
