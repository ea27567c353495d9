"""Where the pictures of a data set and their targets lie, as published and as users keep them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from dgunet_jax.data.folders import is_folder, no_pictures, visible
from dgunet_jax.data.matching import (
    FOLDER_NAMES,
    Matched,
    Pattern,
    folders_of_pairs,
    match_below,
    match_folders,
    sequences_of_pairs,
)
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.system.errors import UserError, reason

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
