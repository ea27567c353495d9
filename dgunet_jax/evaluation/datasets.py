"""The samples of a data set, wherever its files lie in a folder."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dgunet_jax.data.folders import files_below, is_folder, no_pictures, visible
from dgunet_jax.data.pairs import (
    FOLDER_NAMES,
    Matched,
    Pattern,
    folders_of_pairs,
    match_below,
    match_folders,
    sequences_of_pairs,
)
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.real_noise import find_blocks, find_boxes
from dgunet_jax.evaluation.samples import Sample, read_clean, read_noisy, read_pair
from dgunet_jax.evaluation.scores import SMALLEST
from dgunet_jax.images.reading import Header, read_header
from dgunet_jax.images.stored import OTHER_ENDINGS
from dgunet_jax.system.errors import UserError, is_text, printable, reason
from dgunet_jax.system.terminal import say

_PARTS = ("test", "eval15", "outdoor")
_CLEAN = ("target", "original_png")
_HIDE, _HIDE_TARGETS = ("test/test-close-ups", "test/test-long-shot"), "GT"

# The folders of inputs and of targets, and what begins the places of their pairs.
Folders = tuple[Path, Path, str]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A degraded picture and its target.

    Attributes:
      place: where the degraded one lies below the folder of those, without its ending and without
        that folder's name: GoPro's SEQUENCE/FRAME.
    """

    image: Path
    target: Path
    place: str


@dataclasses.dataclass
class Pairs:
    """What lies in a folder.

    Attributes:
      pairs: by place.
      problems: one line for every picture without a counterpart.
      others: what is no picture by its name, and not used.
    """

    pairs: list[Pair] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    others: list[Path] = dataclasses.field(default_factory=list)


def find_pairs(protocol: Protocol, folder: Path, pattern: Pattern | None = None) -> Pairs:
    """Find the pairs of a data set, whatever is wrong with others of them.

    They lie in two folders that `matching.folders_of_pairs` knows, of the folder or of its `test/`,
    `eval15/` or `outdoor/`. By the protocol's layout they may also lie so in one folder for each
    sequence in one of these ("sequences"), where its `list_file` says ("listed"), or as HIDE comes,
    in `test/test-close-ups/`, `test/test-long-shot/` and `GT/` ("hide"). With a pattern they lie
    where it says, or in the folder itself if there are none of these.

    Which input belongs to which target is said by `matching.match_folders`, or by the pattern.

    Raises:
      UserError: there is no such folder, nothing in it lies like this, or there are no pictures.
    """
    visible(folder)  # tells what is wrong with the folder itself
    path = None if protocol.list_file is None else folder / protocol.list_file
    found = Pairs()
    if pattern is not None and pattern.has_folders:
        _add(match_below(folder, pattern), folder, folder, None, found)
    elif pattern is None and protocol.layout == "listed" and path is not None and path.exists():
        found = _listed(folder, path)
    elif pattern is None and protocol.layout == "hide" and _has(folder, (*_HIDE, _HIDE_TARGETS)):
        found = _hide(folder)
    else:
        for inputs, targets, sequence in _all_folders(protocol, folder, pattern):
            _add(match_folders(inputs, targets, pattern), inputs, targets, sequence, found)
    if not (found.pairs or found.problems):
        raise no_pictures(folder)
    found.pairs.sort(key=lambda pair: pair.place)
    return found


def clean_folder(folder: Path) -> Path:
    """Where the clean pictures of a data set lie, which may come with noisy ones."""
    return next((folder / name for name in _CLEAN if is_folder(folder / name)), folder)


def _has(folder: Path, names: Sequence[str]) -> bool:
    """Whether all of these are folders in it."""
    return all(is_folder(folder / name) for name in names)


def _all_folders(protocol: Protocol, folder: Path, pattern: Pattern | None) -> list[Folders]:
    """The folders of the first kind that there is.

    Raises:
      UserError: there are none.
    """
    parts = [folder, *(folder / part for part in _PARTS if is_folder(folder / part))]
    for part in parts:
        if (found := folders_of_pairs(part)) is not None:
            return [(*found, "")]
    for part in parts if protocol.layout == "sequences" else ():
        if found := sequences_of_pairs(part):
            return [(inputs, targets, f"{name}/") for inputs, targets, name in found]
    if pattern is not None:
        return [(folder, folder, "")]
    what = "no pairs" if protocol.list_file is None else f"neither {protocol.list_file} nor pairs"
    raise UserError(f"{folder}: holds {what}; they lie in {FOLDER_NAMES} (see docs/datasets.md)")


def _hide(folder: Path) -> Pairs:
    """HIDE's test pictures; its targets lie with those of the training pictures."""
    found, targets = Pairs(), folder / _HIDE_TARGETS
    for name in _HIDE:
        matched = match_folders(folder / name, targets)
        matched.without_input = []
        _add(matched, folder / name, targets, "", found)
    found.others = list(dict.fromkeys(found.others))
    return found


def _add(matched: Matched, inputs: Path, targets: Path, sequence: str | None, found: Pairs) -> None:
    """Add what is in two folders; without a sequence's name, places are those below `inputs`."""
    for image, target in matched.pairs:
        below = image.relative_to(inputs).with_suffix("").as_posix()
        place = below if sequence is None else sequence + image.stem
        found.pairs.append(Pair(image, target, place))
    found.others += matched.others
    found.problems += [f"{path}: has no target in {targets}" for path in matched.without_target]
    for several in matched.ambiguous:
        names = ", ".join(path.name for paths in several for path in paths)
        found.problems.append(f"{several[0][0].with_suffix('')}: is ambiguous ({names})")
    found.problems += [f"{path}: has no input in {inputs}" for path in matched.without_input]
    found.problems += [f"{path}: does not fit the pattern" for path in matched.misfits]


def _listed(folder: Path, path: Path) -> Pairs:
    """The pairs of RealBlur's list: in each line a target and its blurred picture."""
    found = Pairs()
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    for number, line in enumerate(lines, 1):
        names = line.split()
        if len(names) < 2:
            if names:
                found.problems.append(f"{path}: line {number} does not name two files")
            continue
        if any(name.startswith("/") or ".." in name.split("/") for name in names[:2]):
            found.problems.append(f"{path}: line {number} names a file that is not in the folder")
            continue
        target, image = (folder / name for name in names[:2])
        missing = [str(each) for each in (image, target) if not os.path.isfile(each)]
        if missing:
            found.problems.append(f"{' and '.join(missing)}: no such file (of {path.name})")
        else:
            place = "/".join((*image.parts[-3:-2], image.stem))
            found.pairs.append(Pair(image, target, place))
    return found


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
