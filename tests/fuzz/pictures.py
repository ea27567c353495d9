"""Folders full of exotic files: pictures of every kind that is read, and all that is not."""

import dataclasses
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from tests.fuzz.kinds import READABLE, REFUSED, SIZES, Make

FOLDERS = ("", "plain", "with spaces/deeper", "ünï/図/ещё")
STEMS = (
    "picture",
    "IMG 0001 (copy)",
    "Müller & söhne",
    "写真",
    "ещё раз",
    "dots.in.it",
    "-dash",
    "a'b",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, what it is, and whether it must be read (True), refused (False) or either (None)."""

    path: Path
    kind: str
    readable: bool | None


def make(folder: Path, count: int, seed: int) -> list[Case]:
    """Fills a folder with files, three in five of them readable, one in five not, one of either.

    Every kind comes before any kind comes again.

    Args:
      folder: is created; so are folders in it.
      count: of files.
      seed: the same seed gives the same files.
    """
    rng = np.random.default_rng(seed)
    readable, refused = (_shuffled(rng, kinds) for kinds in (READABLE, REFUSED))
    either = _shuffled(rng, READABLE)
    cases = []
    for index, pile in enumerate(
        islice(cycle([readable, refused, readable, either, readable]), count)
    ):
        kind = next(pile)
        size = SIZES[rng.integers(len(SIZES))]
        content = {**READABLE, **REFUSED}[kind](rng, size)
        expected: bool | None = pile is not refused
        if pile is either:
            kind, content, expected = f"{kind}, flipped bytes", _flipped(rng, content), None
        path = folder / FOLDERS[rng.integers(len(FOLDERS))] / _name(rng, index, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        cases.append(Case(path, kind, expected))
    return cases


def _shuffled(rng: np.random.Generator, kinds: dict[str, Make]) -> Iterator[str]:
    return cycle(list(rng.permutation(list(kinds))))


def _name(rng: np.random.Generator, index: int, kind: str) -> str:
    suffixes = {
        "PNG": ".png",
        "JPEG": ".jpg",
        "WebP": ".webp",
        "BMP": ".bmp",
        "TIFF": ".tif",
        "GIF": ".gif",
        "AVIF": ".avif",
        "JPEG XL": ".jxl",
        "JPEG 2000": ".jp2",
        "PNM": ".pnm",
    }
    name = max((name for name in suffixes if kind.startswith(name)), key=len, default="PNG")
    right = suffixes[name]
    wrong = rng.choice(list(suffixes.values()))
    suffix = rng.choice([right] * 6 + [right.upper(), wrong, ""])
    return f"{rng.choice(STEMS)} {index}{suffix}"


def _flipped(rng: np.random.Generator, content: bytes) -> bytes:
    flipped = np.frombuffer(content, np.uint8).copy()
    positions = rng.integers(0, flipped.size, rng.integers(1, 9))
    flipped[positions] ^= rng.integers(1, 256, positions.size, np.uint8)
    return flipped.tobytes()
