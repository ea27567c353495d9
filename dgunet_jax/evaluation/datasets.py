"""The pictures of a data set, and what is missing of it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dgunet_jax.data.folders import pictures_below
from dgunet_jax.errors import UserError
from dgunet_jax.evaluation.dnd import find_boxes
from dgunet_jax.evaluation.layouts import Pair, clean_folder, find_pairs
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.samples import Sample, read_clean, read_noisy, read_pair
from dgunet_jax.evaluation.sidd import find_blocks
from dgunet_jax.images.reading import read_header

Item = TypeVar("Item")

_THREADS = 8  # that look at files; most of the time they wait


@dataclasses.dataclass(frozen=True)
class Found:
    """The pictures of a data set.

    Attributes:
      samples: what can be restored, by name.
      failures: one line for each picture that cannot be scored: it has no counterpart, another size
        than its target, or is not readable.
      others: files that are none.
    """

    samples: list[Sample]
    failures: list[str]
    others: list[Path]

    def shortage(self, protocol: Protocol) -> str | None:
        """One line if there are not as many pictures as the data set has."""
        count = len(self.samples)
        if protocol.count in (None, count):
            return None
        return f"{protocol.title} has {protocol.count} pictures; {count} of them can be scored here"


def find(protocol: Protocol, folder: Path) -> Found:
    """Looks at all pictures of a data set, without decoding them.

    Pairs lie as `layouts.find_pairs` says; clean pictures anywhere below the folder, or below its
    `target/` or `original_png/` if there is one; SIDD's blocks as `sidd.find_blocks` says, DND's
    boxes as `dnd.find_boxes` does.

    Raises:
      UserError: there is no such folder, or nothing of the data set in it.
    """
    if protocol.layout == "pairs":
        pairs = find_pairs(folder)
        samples, failures = _split(_pair_sample, pairs.pairs)
        return Found(samples, pairs.problems + failures, pairs.others)
    if protocol.layout == "sidd":
        return Found(find_blocks(folder), [], [])
    if protocol.layout == "dnd":
        return Found(*find_boxes(folder), [])
    start = clean_folder(folder)
    look = functools.partial(_clean_sample, start, protocol.sigma)
    samples, failures = _split(look, pictures_below(start))
    return Found(samples, failures, [])


def _split(look: Callable[[Item], Sample], items: Sequence[Item]) -> tuple[list[Sample], list[str]]:
    """What `look` finds of each item, and one line for each of which it is a UserError."""

    def attempt(item: Item) -> Sample | UserError:
        try:
            return look(item)
        except UserError as error:
            return error

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


def _pair_sample(pair: Pair) -> Sample:
    image, target = (read_header(path) for path in (pair.image, pair.target))
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
    header = read_header(path)
    place = path.relative_to(folder).with_suffix("").as_posix()
    name = place.replace("/", "-")
    read = functools.partial(read_clean, path)
    if sigma is not None:
        read = functools.partial(read_noisy, path, sigma)
    return Sample(name, (header.height, header.width), (path,), (place,), read)
