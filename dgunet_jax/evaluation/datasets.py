"""The samples of a data set, wherever its files lie in a folder."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.folders import files_below, is_folder, no_pictures, visible
from dgunet_jax.data.measurements import simulate_one
from dgunet_jax.data.pairs import (
    FOLDER_NAMES,
    Folders,
    PairPaths,
    Pairs,
    Pattern,
    folders_of_pairs,
    match_folders,
    sequences_of_pairs,
)
from dgunet_jax.data.simulation import gaussian_noise
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import IN_BYTES_MULTIPLE, Protocol
from dgunet_jax.evaluation.real_noise import find_blocks, find_boxes
from dgunet_jax.evaluation.samples import Degraded, Measurement, Sample
from dgunet_jax.images import OTHER_ENDINGS, Header, luma, read_header, read_rgb
from dgunet_jax.operators.base import size_multiple
from dgunet_jax.system.errors import UserError, is_text, printable, reason
from dgunet_jax.system.terminal import say

Item = TypeVar("Item")

_PARTS = ("test", "eval15", "outdoor")
_CLEAN = ("target", "original_png")
_HIDE, _HIDE_TARGETS = ("test/test-close-ups", "test/test-long-shot"), "GT"
_THREADS = 8  # that look at files; most of the time they wait


@dataclasses.dataclass(frozen=True)
class Found:
    """The samples of a data set, by name.

    Attributes:
      failures: one line for each image that cannot be scored: it has no counterpart, another size
        than its target, more than 8 bits per channel, too few pixels for the measure or a name that
        is not UTF-8, or is not readable.
      others: files that are not images.
    """

    samples: list[Sample]
    failures: list[str]
    others: list[Path]

    def report_others(self) -> None:
        """Report on standard error what is left out."""
        for path in self.others:
            say(f"left out, not a picture: {path}")


def find(protocol: Protocol, folder: Path, pattern: Pattern | None = None) -> Found:
    """Find the samples of a data set, without decoding them.

    They lie as the protocol's layout says: "sidd" and "dnd" as `find_blocks` and `find_boxes` say;
    "clean" images anywhere below the folder, or below its `target/` or `original_png/`; "pairs" in
    two folders that `folders_of_pairs` knows, of the folder or of its `test/`, `eval15/` or
    `outdoor/`. Pairs may also lie so in one folder for each sequence ("sequences"), as a file says
    ("listed"), or as HIDE comes ("hide"). With a pattern they lie where it says, or in the folder
    itself if there are none of these.

    Raises:
      UserError: there is no such folder, nothing of the data set in it, or more than belongs to it;
        or a pattern is given and the data set does not consist of pairs.
    """
    if pattern is not None and protocol.layout in ("sidd", "dnd", "clean"):
        raise UserError(f"--pairs: {protocol.title} does not consist of pairs of files")
    failures: list[str] = []
    others: list[Path] = []
    if protocol.layout == "sidd":
        samples = find_blocks(folder)
    elif protocol.layout == "dnd":
        samples, failures = find_boxes(folder)
    elif protocol.layout == "clean":
        start = next((folder / name for name in _CLEAN if is_folder(folder / name)), folder)
        images, others = files_below(start, failures)
        if protocol.degradation is None:
            read = functools.partial(_read_clean, protocol)
        else:
            read = functools.partial(_read_simulated, Degradation.parse(protocol.degradation))
        look = functools.partial(_clean_sample, start, protocol, read)
        samples = _checked(look, images, protocol, failures)
    else:
        pairs = _find_pairs(protocol, folder, pattern)
        failures, others = [f"{path}: {why}" for path, why in pairs.problems], pairs.others
        samples = _checked(_pair_sample, pairs.pairs, protocol, failures)
    if protocol.count is not None and len(samples) > protocol.count:
        raise UserError(
            f"{folder}: holds {len(samples)} pictures, but {protocol.title} has {protocol.count};"
            " name the folder that holds only these"
        )
    unread = {path: line for path in others if (line := _unread(path)) is not None}
    others = [path for path in others if path not in unread]
    return Found(samples, [printable(line) for line in (*failures, *unread.values())], others)


def _find_pairs(protocol: Protocol, folder: Path, pattern: Pattern | None) -> Pairs:
    """Find the pairs of a data set, whatever is wrong with others of them."""
    visible(folder)  # which raises what is wrong with the folder itself
    found, hide = Pairs(), [folder / name for name in (*_HIDE, _HIDE_TARGETS)]
    list_file = folder / protocol.list_file if protocol.list_file else None
    if pattern is None and list_file is not None and list_file.exists():
        found = _listed(folder, list_file)
    elif pattern is None and protocol.layout == "hide" and all(map(is_folder, hide)):
        for inputs in hide[:-1]:
            matched = match_folders(inputs, hide[-1])
            matched.without_input = []  # the targets of training images lie there too
            found.add(matched, inputs)
    else:
        for inputs, targets, prefix in _find_folders(protocol, folder, pattern):
            found.add(match_folders(inputs, targets, pattern), inputs, prefix)
    if not (found.pairs or found.problems):
        raise no_pictures(folder)
    return found


def _find_folders(protocol: Protocol, folder: Path, pattern: Pattern | None) -> Sequence[Folders]:
    """Return the folders of pairs of the first kind that there is."""
    if pattern is None or not pattern.has_folders:
        parts = [folder, *(folder / part for part in _PARTS if is_folder(folder / part))]
        for part in parts:
            if (found := folders_of_pairs(part)) is not None:
                return [(*found, "")]
        for part in parts if protocol.layout == "sequences" else ():
            if sequences := sequences_of_pairs(part):
                return sequences
    if pattern is not None:
        return [(folder, folder, "")]
    what = "no pairs" if protocol.list_file is None else f"neither {protocol.list_file} nor pairs"
    raise UserError(f"{folder}: holds {what}; they lie in {FOLDER_NAMES} (see docs/datasets.md)")


def _listed(folder: Path, path: Path) -> Pairs:
    """Return the pairs of RealBlur's list: in each line a target and its blurred image."""
    found = Pairs()
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    for number, line in enumerate(lines, 1):
        names = line.split()[:2]
        if len(names) == 1:
            found.problems.append((path, f"line {number} does not name two files"))
        elif any(name.startswith("/") or ".." in name.split("/") for name in names):
            found.problems.append((path, f"line {number} names a file that is not in the folder"))
        elif names:
            target, image = (folder / name for name in names)
            missing = [each for each in (image, target) if not each.is_file()]
            found.problems += [(each, f"no such file (of {path.name})") for each in missing]
            if not missing:
                place = "/".join((*image.parts[-3:-2], image.stem))
                found.pairs.append(PairPaths(image, target, place))
    return found


def _unread(path: Path) -> str | None:
    """Return why a file with the ending of an image format that is not read is not."""
    if path.suffix.lower() in OTHER_ENDINGS:
        try:
            read_header(path)
        except UserError as error:
            return str(error)
    return None


def _checked(
    look: Callable[[Item], Sample],
    items: Sequence[Item],
    protocol: Protocol,
    failures: list[str],
) -> list[Sample]:
    """Return the samples `look` makes of the items, by name, and add one line for each failure."""

    def attempt(item: Item) -> Sample | UserError:
        try:
            sample = look(item)
        except UserError as error:
            return error
        path, (height, width), side = sample.files[0], sample.size, protocol.window
        if not is_text(sample.name):
            return UserError(f"{path}: its name is not UTF-8; rename it")
        if min(height, width) < side:
            return UserError(
                f"{path}: is {width}×{height} pixels large; the measure's window needs at least"
                f" {side}×{side}"
            )
        return sample

    samples: dict[str, Sample] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for each in pool.map(attempt, items):
            if isinstance(each, UserError):
                failures.append(str(each))
            elif (first := samples.setdefault(each.name, each)) is not each:
                failures.append(f"{each.files[0]}: has the name of {first.files[0]}")
    return [samples[name] for name in sorted(samples)]


def _header(path: Path) -> Header:
    header = read_header(path)
    if header.bits > 8:
        raise UserError(f"{path}: has {header.bits} bits per channel; only 8 are scored")
    return header


def _pair_sample(pair: PairPaths) -> Sample:
    image, target = map(_header, (pair.input, pair.target))
    size = image.height, image.width
    if size != (target.height, target.width):
        raise UserError(
            f"{pair.input} is {image.width}×{image.height} and {pair.target}"
            f" {target.width}×{target.height} pixels large; they must have one size"
        )
    sequence, _, stem = pair.place.rpartition("/")
    with_folder = "/".join((*filter(None, [sequence]), pair.input.parent.name, stem))
    files = pair.input, pair.target
    return Sample(pair.name, size, files, (pair.place, with_folder), lambda: _read_pair(*files))


def _read_pair(image: Path, target: Path) -> Degraded:
    return Degraded(unit_range(read_rgb(image)), read_rgb(target))


def _clean_sample(
    folder: Path, protocol: Protocol, read: Callable[[Path], Degraded], path: Path
) -> Sample:
    """Return a clean image, which is `read` from its file."""
    header = _header(path)
    place = path.relative_to(folder).with_suffix("").as_posix()
    multiple = IN_BYTES_MULTIPLE if protocol.in_bytes else 1
    size = header.height // multiple * multiple, header.width // multiple * multiple
    return Sample(place.replace("/", "-"), size, (path,), (place,), functools.partial(read, path))


def _read_simulated(degradation: Degradation, path: Path) -> Degraded:
    """Read an image and degrade it.

    The name is the seed, so that an image is degraded alike whichever others there are. Rows and
    columns that a known operator does not take are cut off.
    """
    target = read_rgb(path)
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    if not degradation.known:
        return Degraded(degradation.apply(unit_range(target), rng), target)
    chain = int(rng.integers(len(degradation.chains)))
    seed = rng.integers(2**32)
    made = degradation.measure(target.shape, np.random.default_rng(seed), chain)
    multiple = size_multiple(made["operator"])
    height, width = (side // multiple * multiple for side in target.shape[:2])
    if (height, width) != target.shape[:2]:
        target = target[:height, :width]
        made = degradation.measure(target.shape, np.random.default_rng(seed), chain)
    operator, y = simulate_one(made, unit_range(target))
    begun = np.asarray(operator.start(y)[0])
    y = jax.tree.map(lambda leaf: np.asarray(leaf)[0], y)
    return Degraded(begun, target, Measurement(y, operator, float(made["sigma"]) / 255))


def _read_clean(protocol: Protocol, path: Path) -> Degraded:
    """Read an image with noise of σ or, without a σ, the luma that a network samples.

    The seed is 0 for each, so that an image has the same noise whichever others there are.
    """
    target = read_rgb(path)
    if protocol.sigma is None:
        target = luma(target)
        return Degraded(unit_range(target), target)
    rng = np.random.default_rng(0)
    if not protocol.in_bytes:
        return Degraded(gaussian_noise(unit_range(target), protocol.sigma, rng), target)
    beyond = [side % IN_BYTES_MULTIPLE for side in target.shape[:2]]
    (top, left), (height, width) = (each // 2 for each in beyond), target.shape[:2]
    target = target[top : top + height - beyond[0], left : left + width - beyond[1]]
    noisy = target + protocol.sigma * rng.standard_normal(target.shape)
    return Degraded(unit_range(noisy.clip(0, 255).astype(np.uint8)), target)
