"""Which files of a folder are a degraded picture and the clean one it belongs to."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax.data.folders import is_folder
from dgunet_jax.data.matching import (
    FOLDER_NAMES,
    Matched,
    Pattern,
    folders_of_pairs,
    match_below,
    match_folders,
    sequences_of_pairs,
)
from dgunet_jax.system.errors import UserError, listed

_PARTS = ("train", "test")

# The folders of inputs and of targets, and what begins the names of their pairs.
Folders = tuple[Path, Path, str]


@dataclasses.dataclass(frozen=True)
class PairPaths:
    """The files of a pair, and the name it is reported under."""

    input: Path
    target: Path
    name: str


def find_pairs(folder: Path, pattern: Pattern | None = None) -> list[PairPaths]:
    """Find the pairs in a folder.

    They lie in one of these ways:

    * in two folders that `matching.folders_of_pairs` knows; others beside them are not looked at;
    * as GoPro comes: in two such folders of one folder for every sequence; `blur_gamma/` is not
      looked at;
    * like that in its folder `train/` or `test/`, if it has only one of them;
    * where a pattern says; the folder itself, if it is of names without folders and there are none
      of the above.

    Which input belongs to which target is said by `matching.match_folders`, or by the pattern.

    Args:
      folder: that of the data set, or a part of it.
      pattern: of the names of inputs and targets.

    Returns:
      The pairs by name. That is the input's stem; of GoPro's sequences with the sequence's name and
      "-" before it, and of a pattern with folders with their names before it.

    Raises:
      UserError: no such folder, or nothing in it that lies like this; or, in one line, all files
        there that have no counterpart or several, or are not pictures by their ending, unless they
        are hidden.
    """
    pairs: list[PairPaths] = []
    problems: list[str] = []
    for matched, prefix, lost in _matched(folder, pattern):
        for image, target in matched.pairs:
            name = image.stem
            if pattern is not None and pattern.has_folders:
                name = "-".join(image.relative_to(folder).with_suffix("").parts)
            pairs.append(PairPaths(image, target, prefix + name))
        why = [*_problems(matched), *((path, "missing") for path in lost)]
        problems += [f"{path.relative_to(folder)} ({reason})" for path, reason in why]
    if problems:
        raise UserError(
            f"{folder}: files without a pair ({len(problems)}): {listed(problems)};"
            " an input has the name of its target, or data.pairs (--pairs) says how they differ"
        )
    if not pairs:
        raise UserError(f"{folder}: holds no pictures")
    return sorted(pairs, key=lambda pair: pair.name)


def holds_pairs(folder: Path) -> bool:
    """Return whether there are pairs in a folder, as `find_pairs` finds them, or in parts of it.

    Raises:
      UserError: there is no such folder.
    """
    return bool(_parts(folder))


def _matched(folder: Path, pattern: Pattern | None) -> Iterator[tuple[Matched, str, list[Path]]]:
    """What is in each two folders, what begins its names, and which of the folders are missing."""
    if pattern is not None and pattern.has_folders:
        yield match_below(folder, pattern), "", []
        return
    for inputs, targets, prefix in _find_folders(folder, pattern):
        lost = [path for path in (inputs, targets) if not is_folder(path)]
        yield match_folders(inputs, targets, pattern), prefix, lost


def _problems(matched: Matched) -> Iterator[tuple[Path, str]]:
    """The files that belong to no pair, with the reason."""
    for path in matched.others:
        yield path, "a folder" if is_folder(path) else "not a picture"
    yield from ((path, "no target") for path in matched.without_target)
    for inputs, targets in matched.ambiguous:
        several = [*inputs, *(targets if len(targets) > 1 else [])]
        yield from ((path, "ambiguous") for path in several)
    yield from ((path, "no input") for path in matched.without_input)
    yield from ((path, "does not fit the pattern") for path in matched.misfits)


def _parts(folder: Path) -> list[Path]:
    """The folder, if pairs lie in it, or else those of its parts in which they do."""
    if folders_of_pairs(folder) is not None:
        return [folder]
    parts = [folder / name for name in _PARTS]
    found = [part for part in parts if is_folder(part) and _layout(part)]
    return found or ([folder] if _layout(folder) else [])


def _find_folders(folder: Path, pattern: Pattern | None) -> list[Folders]:
    parts = _parts(folder)
    if not parts and pattern is not None:
        return [(folder, folder, "")]
    if not parts:
        raise UserError(f"{folder}: holds no pairs; they lie in {FOLDER_NAMES}")
    if len(parts) > 1:
        raise UserError(f"{folder}: holds pairs in {' and in '.join(_PARTS)}; name one of them")
    return _layout(parts[0])


def _layout(folder: Path) -> list[Folders]:
    found = folders_of_pairs(folder)
    if found is not None:
        return [(*found, "")]
    # Folders of others than blurred pictures may be several data sets.
    sequences = sequences_of_pairs(folder)
    if not any("blur" in inputs.name.casefold() for inputs, _, _ in sequences):
        return []
    return [(inputs, targets, f"{name}-") for inputs, targets, name in sequences]
