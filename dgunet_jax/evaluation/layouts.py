"""Where the pictures of a data set and their targets lie, as published and as users keep them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from dgunet_jax.data.folders import no_pictures, visible
from dgunet_jax.data.pairs import FOLDER_NAMES, FOLDERS, by_stem, match_stems
from dgunet_jax.errors import UserError, reason
from dgunet_jax.evaluation.protocols import Protocol

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


def find_pairs(protocol: Protocol, folder: Path) -> Pairs:
    """The pairs of a data set, whatever is wrong with others of them.

    They lie in `input/` and `target/` (or `blur/` and `sharp/`, `hazy/` and `gt/` or `clear/`,
    `low/` and `high/`) of the folder or of its `test/`, `eval15/` or `outdoor/`. By the protocol's
    layout they may also lie so in one folder for each sequence in one of these ("sequences"), where
    its `list_file` says ("listed"), or as HIDE comes, in `test/test-close-ups/`,
    `test/test-long-shot/` and `GT/` ("hide").

    An input belongs to the target of the same stem or, if there is none, to the longest stem that
    is its own up to an underscore: SOTS' 0001_0.8_0.2.jpg belongs to 0001.png.

    Raises:
      UserError: there is no such folder, nothing in it lies like this, or there are no pictures.
    """
    visible(folder)  # tells what is wrong with the folder itself
    path = None if protocol.list_file is None else folder / protocol.list_file
    if protocol.layout == "listed" and path is not None and path.exists():
        found = _listed(folder, path)
    elif protocol.layout == "hide" and _has(folder, (*_HIDE, _HIDE_TARGETS)):
        found = _hide(folder)
    else:
        found = Pairs()
        for inputs, targets, sequence in _all_folders(protocol, folder):
            _match(inputs, targets, sequence, found)
    if not (found.pairs or found.problems):
        raise no_pictures(folder)
    found.pairs.sort(key=lambda pair: pair.place)
    return found


def clean_folder(folder: Path) -> Path:
    """Where the clean pictures of a data set lie, which may come with noisy ones."""
    return next((folder / name for name in _CLEAN if (folder / name).is_dir()), folder)


def _has(folder: Path, names: Sequence[str]) -> bool:
    """Whether all of these are folders in it."""
    return all((folder / name).is_dir() for name in names)


def _all_folders(protocol: Protocol, folder: Path) -> list[Folders]:
    """The folders of the first kind that there is.

    Raises:
      UserError: there are none.
    """
    parts = [folder, *(folder / part for part in _PARTS if (folder / part).is_dir())]
    looks = (_folders, _sequences) if protocol.layout == "sequences" else (_folders,)
    for look in looks:
        for part in parts:
            if found := look(part):
                return found
    what = "no pairs" if protocol.list_file is None else f"neither {protocol.list_file} nor pairs"
    raise UserError(f"{folder}: holds {what}; they lie in {FOLDER_NAMES} (see docs/datasets.md)")


def _folders(folder: Path) -> list[Folders]:
    return [
        (folder / first, folder / second, "")
        for first, second in FOLDERS
        if _has(folder, (first, second))
    ][:1]


def _sequences(folder: Path) -> list[Folders]:
    """Those of every folder in it that has both, or one of two that another folder has both of."""
    sequences = [path for path in visible(folder) if path.is_dir()]
    known = [names for names in FOLDERS if any(_has(path, names) for path in sequences)]
    found = []
    for path in sequences:
        held = {names: sum(_has(path, [name]) for name in names) for names in known}
        if any(held.values()):
            first, second = max(held, key=lambda names: held[names])
            found.append((path / first, path / second, f"{path.name}/"))
    return found


def _hide(folder: Path) -> Pairs:
    """HIDE's test pictures; its targets lie with those of the training pictures."""
    found = Pairs()
    for name in _HIDE:
        _match(folder / name, folder / _HIDE_TARGETS, "", found, all_targets=False)
    found.others = list(dict.fromkeys(found.others))
    return found


def _match(
    inputs: Path, targets: Path, sequence: str, found: Pairs, all_targets: bool = True
) -> None:
    # One of a sequence's folders may be missing: then nothing is in it.
    (degraded, others), (clean, more) = (
        by_stem(path) if path.is_dir() else ({}, []) for path in (inputs, targets)
    )
    found.others += [*others, *more]
    matched = match_stems(degraded, clean)
    found.pairs += [Pair(image, target, sequence + image.stem) for image, target in matched.pairs]
    found.problems += [f"{path}: has no target in {targets}" for path in matched.without_target]
    for stem, several in matched.ambiguous.items():
        names = ", ".join(path.name for paths in several for path in paths)
        found.problems.append(f"{inputs / stem}: is ambiguous ({names})")
    if all_targets:
        found.problems += [f"{path}: has no input in {inputs}" for path in matched.without_input]


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
        target, image = (folder / name for name in names[:2])
        missing = [str(each) for each in (image, target) if not each.is_file()]
        if missing:
            found.problems.append(f"{' and '.join(missing)}: no such file (of {path.name})")
        else:
            place = "/".join((*image.parts[-3:-2], image.stem))
            found.pairs.append(Pair(image, target, place))
    return found
