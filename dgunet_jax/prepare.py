"""Training sets made of published ones: crops as files, and a check of what there is."""

import argparse
import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgunet_jax.data.checking import problems
from dgunet_jax.data.pairs import Pattern
from dgunet_jax.data.sources import Files, FileSource, files_of_any_kind
from dgunet_jax.images import Picture, write
from dgunet_jax.system.errors import UserError, counted, reason
from dgunet_jax.system.files import read_bytes, replacing
from dgunet_jax.system.terminal import Progress, say, show

SETTINGS = "crops.json"  # in a folder of crops
_KINDS = ("input", "target")

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


def cut(files: Sequence[Files], crops: Crops, folder: Path) -> list[str]:
    """Write the crops of pictures or pairs as PNG files, several pictures at a time.

    Crops of pairs are `folder`/input/NAME-000.png and so on, and the same places in target/; those
    of clean pictures lie in `folder` itself. Those that exist are not made again, so that the same
    call completes what was stopped.

    Args:
      files: the pictures or pairs, of 8 bits.
      crops: where.
      folder: of the results; it is made.

    Returns:
      One line for each picture or pair that cannot be cut.

    Raises:
      UserError: the folder cannot be written, or holds crops of other settings.
    """
    _keep_settings(folder, dataclasses.asdict(crops))
    source = FileSource(files, cache_bytes=0, strict=False)
    failures = [f"left out: {why}" for why in dict.fromkeys(source.bad.values())]
    waiting = [index for index in range(len(source)) if index not in source.bad]

    def one(index: int) -> None:
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

    with Progress(len(waiting), len(waiting)) as progress:
        for index, problem in problems(one, waiting):
            if problem is not None:
                failures.append(f"left out: {problem}")
            done = "cut" if problem is None else "failed"
            progress.advance(f"{done} {source.name(index)}", 1)
    return failures


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
      UserError: as `find_blocks` does.
    """
    from dgunet_jax.evaluation.real_noise import block_name, read_blocks  # which import JAX

    noisy, clean = read_blocks(source)
    for place in np.ndindex(noisy.shape[:2]):
        for kind, blocks in zip(_KINDS, (noisy, clean), strict=True):
            target = folder / kind / f"{block_name(*place)}.png"
            if not target.exists():
                write(target, Picture(blocks[place]))
    return math.prod(noisy.shape[:2])


def check(folder: Path, pattern: Pattern | None = None) -> tuple[str, list[str]]:
    """Decode all pictures or pairs of a folder.

    Returns:
      What there is, in one line, and one line for each that cannot be used.

    Raises:
      UserError: there is no such folder; or inputs without target and the like, all in one line.
    """
    files = files_of_any_kind(folder, pattern)
    source = FileSource(files, cache_bytes=0, strict=False)
    bad = dict(source.bad)
    sizes = sorted((source.size(i) for i in range(len(source)) if i not in bad), key=np.prod)

    waiting = [index for index in range(len(files)) if index not in bad]
    with Progress(len(waiting), len(waiting)) as progress:
        for index, problem in problems(source.read, waiting):
            if problem is not None:
                bad[index] = problem
            progress.advance(f"read {source.name(index)}", 1)
    text = counted(len(files), "pair" if source.pairs else "clean picture")
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
        count = options.count if options.what == "sidd" else None
        step = options.step if options.what == "crops" else None
        crops = Crops(options.side, step, count, options.seed)
        target = options.output
        if options.what == "sidd" and options.validation is not None:
            made = write_blocks(options.validation, target / "validation")
            say(f"wrote {counted(made, 'validation block')}")
        target = target / "train" if options.what == "sidd" else target
        failures = cut(files_of_any_kind(folder, pattern), crops, target)
        show(f"train with --config.data.train={target}")
    for failure in failures:
        say(f"error: {failure}")
    return 2 if failures else 0
