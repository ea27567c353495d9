"""The pictures of a data set, and what is missing of it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dgunet_jax.data.folders import files_below
from dgunet_jax.data.matching import Pattern
from dgunet_jax.evaluation.dnd import find_boxes
from dgunet_jax.evaluation.layouts import Pair, clean_folder, find_pairs
from dgunet_jax.evaluation.measures import SMALLEST
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.samples import Sample, read_clean, read_noisy, read_pair
from dgunet_jax.evaluation.sidd import find_blocks
from dgunet_jax.images.reading import Header, read_header
from dgunet_jax.images.stored import OTHER_ENDINGS
from dgunet_jax.system.errors import UserError, is_text, printable
from dgunet_jax.system.terminal import say

Item = TypeVar("Item")

_THREADS = 8  # that look at files; most of the time they wait


@dataclasses.dataclass(frozen=True)
class Found:
    """The pictures of a data set.

    Attributes:
      samples: what can be restored, by name.
      failures: one line for each picture that cannot be scored: it has no counterpart, another size
        than its target, more than 8 bits per channel, too few pixels for the measure or a name that
        is not UTF-8, or is not readable.
      others: files that are not pictures.
    """

    samples: list[Sample]
    failures: list[str]
    others: list[Path]

    def tell_others(self) -> None:
        """Say on stderr what is left out."""
        for path in self.others:
            say(f"left out, not a picture: {path}")

    def shortage(self, protocol: Protocol) -> str | None:
        """One line if there are not as many pictures as the data set has."""
        count = len(self.samples)
        if protocol.count in (None, count):
            return None
        return f"{protocol.title} has {protocol.count} pictures; {count} of them can be scored here"


def find(protocol: Protocol, folder: Path, pattern: Pattern | None = None) -> Found:
    """Look at all pictures of a data set, without decoding them.

    Clean pictures lie anywhere below the folder, or below its `target/` or `original_png/` if there
    is one; SIDD's blocks as `sidd.find_blocks` says, DND's boxes as `dnd.find_boxes` does, and
    pairs as `layouts.find_pairs` says.

    Args:
      protocol: of the data set.
      folder: of the data set.
      pattern: of the names of pairs.

    Raises:
      UserError: there is no such folder, nothing of the data set in it, or more than belongs to it;
        or a pattern is given and the data set does not consist of pairs.
    """
    if pattern is not None and protocol.layout in ("sidd", "dnd", "clean"):
        raise UserError(f"--pairs: {protocol.title} does not consist of pairs of files")
    samples, failures, others = _look(protocol, folder, pattern)
    if protocol.count is not None and len(samples) > protocol.count:
        raise UserError(
            f"{folder}: holds {len(samples)} pictures, but {protocol.title} has {protocol.count};"
            " name the folder that holds only these"
        )
    unread = {path: line for path in others if (line := _unread(path)) is not None}
    others = [path for path in others if path not in unread]
    return Found(samples, [printable(line) for line in (*failures, *unread.values())], others)


def _unread(path: Path) -> str | None:
    """Why a file that has the ending of a picture format which is not read is not."""
    if path.suffix.lower() not in OTHER_ENDINGS:
        return None
    try:
        read_header(path)
    except UserError as error:
        return str(error)
    return None


def _look(
    protocol: Protocol, folder: Path, pattern: Pattern | None
) -> tuple[list[Sample], list[str], list[Path]]:
    """What `Found` has."""
    if protocol.layout == "sidd":
        return find_blocks(folder), [], []
    if protocol.layout == "dnd":
        samples, failures = find_boxes(folder)
        return samples, failures, []
    if protocol.layout == "clean":
        start = clean_folder(folder)
        problems: list[str] = []
        pictures, others = files_below(start, problems)
        look = functools.partial(_clean_sample, start, protocol.sigma)
        samples, failures = _split(look, pictures, protocol)
        return samples, problems + failures, others
    pairs = find_pairs(protocol, folder, pattern)
    samples, failures = _split(_pair_sample, pairs.pairs, protocol)
    return samples, pairs.problems + failures, pairs.others


def _split(
    look: Callable[[Item], Sample], items: Sequence[Item], protocol: Protocol
) -> tuple[list[Sample], list[str]]:
    """What `look` finds of each item, and one line for each that cannot be scored."""

    def attempt(item: Item) -> Sample | UserError:
        try:
            sample = look(item)
            _check(sample, protocol)
        except UserError as error:
            return error
        return sample

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(attempt, items))
    failures = [str(each) for each in found if isinstance(each, UserError)]
    samples: dict[str, Sample] = {}
    for each in found:
        if isinstance(each, UserError):
            continue
        first = samples.setdefault(each.name, each)
        if first is not each:
            failures.append(f"{each.files[0]}: has the name of {first.files[0]}")
    return [samples[name] for name in sorted(samples)], failures


def _check(sample: Sample, protocol: Protocol) -> None:
    """Raises a UserError unless a picture can be scored, and be named in the results."""
    path, (height, width), side = sample.files[0], sample.size, SMALLEST[protocol.measure]
    if not is_text(sample.name):
        raise UserError(f"{path}: its name is not UTF-8; rename it")
    if min(height, width) < side:
        raise UserError(
            f"{path}: is {width}×{height} pixels large; the measure's window needs at least"
            f" {side}×{side}"
        )


def _header(path: Path) -> Header:
    """That of a picture of 8 bits."""
    header = read_header(path)
    if header.bits > 8:
        raise UserError(f"{path}: has {header.bits} bits per channel; only 8 are scored")
    return header


def _pair_sample(pair: Pair) -> Sample:
    image, target = map(_header, (pair.image, pair.target))
    size = image.height, image.width
    if size != (target.height, target.width):
        raise UserError(
            f"{pair.image} is {image.width}×{image.height} and {pair.target}"
            f" {target.width}×{target.height} pixels large; they must have one size"
        )
    sequence, _, stem = pair.place.rpartition("/")
    parents = *filter(None, [sequence]), pair.image.parent.name, stem
    return Sample(
        pair.place.replace("/", "-"),
        size,
        (pair.image, pair.target),
        (pair.place, "/".join(parents)),
        functools.partial(read_pair, pair.image, pair.target),
    )


def _clean_sample(folder: Path, sigma: float | None, path: Path) -> Sample:
    """A picture with noise of σ, or as it is for a network that samples it."""
    header = _header(path)
    place = path.relative_to(folder).with_suffix("").as_posix()
    name = place.replace("/", "-")
    read = functools.partial(read_clean, path)
    if sigma is not None:
        read = functools.partial(read_noisy, path, sigma)
    return Sample(name, (header.height, header.width), (path,), (place,), read)
