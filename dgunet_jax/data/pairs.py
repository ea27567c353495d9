"""Which files of a folder are a degraded picture and the clean one it belongs to."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax.data.folders import is_picture, visible
from dgunet_jax.errors import UserError
from dgunet_jax.wording import listed

_FOLDERS = ("input", "target")
_GOPRO_FOLDERS = ("blur", "sharp")
_PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class PairPaths:
    """The files of a pair, and the name it is reported under."""

    input: Path
    target: Path
    name: str


def find_pairs(folder: Path) -> list[PairPaths]:
    """The pairs in a folder.

    They lie in one of these ways:

    * in `input/` and `target/`; other folders beside them are not looked at;
    * as GoPro comes: in `blur/` and `sharp/` of one folder for every sequence, or of the folder
      itself; `blur_gamma/` is not looked at;
    * like that in its folder `train/` or `test/`, if it has only one of them.

    An input belongs to the target of the same stem, that is the name without its ending. If there
    is none, to the target whose stem is the input's up to an underscore, the longest such: SOTS'
    0001_0.8_0.2.jpg belongs to 0001.png. So a target may have several inputs.

    Args:
      folder: that of the data set, or a part of it.

    Returns:
      The pairs by name. That is the input's stem; of GoPro's sequences with the sequence's name and
      "-" before it.

    Raises:
      UserError: no such folder, or nothing in it that lies like this; or, in one line, all files
        there that have no counterpart or several, or are no pictures by their ending, unless they
        are hidden.
    """
    pairs: list[PairPaths] = []
    problems: list[str] = []
    for inputs, targets, prefix in _find_folders(folder):
        matched, unmatched = _match(inputs, targets)
        pairs += [PairPaths(a, b, prefix + a.stem) for a, b in matched]
        problems += [f"{path.relative_to(folder)} ({why})" for path, why in unmatched]
    if problems:
        raise UserError(
            f"{folder}: files without a pair ({len(problems)}): {listed(problems)};"
            " an input has the name of its target, or more after it and an underscore"
        )
    if not pairs:
        raise UserError(f"{folder}: holds no pictures")
    return sorted(pairs, key=lambda pair: pair.name)


def holds_pairs(folder: Path) -> bool:
    """Whether there are pairs in a folder, as `find_pairs` finds them, or in parts of it.

    Raises:
      UserError: there is no such folder.
    """
    return bool(_parts(folder))


def _parts(folder: Path) -> list[Path]:
    """The folder, if pairs lie in it, or else those of its parts in which they do."""
    if _layout(folder):
        return [folder]
    parts = [folder / name for name in _PARTS]
    return [part for part in parts if part.is_dir() and _layout(part)]


def _find_folders(folder: Path) -> list[tuple[Path, Path, str]]:
    parts = _parts(folder)
    if not parts:
        first, second = (" and ".join(names) for names in (_FOLDERS, _GOPRO_FOLDERS))
        raise UserError(f"{folder}: holds no pairs; they lie in folders named {first}, or {second}")
    if len(parts) > 1:
        raise UserError(f"{folder}: holds pairs in {' and in '.join(_PARTS)}; name one of them")
    return _layout(parts[0])


def _layout(folder: Path) -> list[tuple[Path, Path, str]]:
    """The folders of inputs and of targets, and what begins the names of their pairs."""
    for names in (_FOLDERS, _GOPRO_FOLDERS):
        if all((folder / name).is_dir() for name in names):
            return [(folder / names[0], folder / names[1], "")]
    blur, sharp = _GOPRO_FOLDERS
    sequences = [path for path in visible(folder) if path.is_dir()]
    if not any((path / blur).is_dir() and (path / sharp).is_dir() for path in sequences):
        return []
    return [(path / blur, path / sharp, f"{path.name}-") for path in sequences]


def _match(
    input_folder: Path, target_folder: Path
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, str]]]:
    """Pairs, and the files that belong to none, with the reason."""
    (inputs, problems), (targets, more) = map(_by_stem, (input_folder, target_folder))
    problems += more
    pairs = []
    used = set()
    for stem, paths in inputs.items():
        target = next((start for start in starts(stem) if start in targets), None)
        used.add(target)
        if target is None:
            problems += [(path, "no target") for path in paths]
        elif len(paths) > 1 or len(targets[target]) > 1:
            problems += [(path, "ambiguous") for path in paths]
        else:
            pairs.append((paths[0], targets[target][0]))
    for stem, paths in targets.items():
        if len(paths) > 1:
            problems += [(path, "ambiguous") for path in paths]
        elif stem not in used:
            problems.append((paths[0], "no input"))
    return pairs, problems


def _by_stem(folder: Path) -> tuple[dict[str, list[Path]], list[tuple[Path, str]]]:
    """The pictures in a folder, and what else there is."""
    if not folder.is_dir():
        return {}, [(folder, "missing")]
    pictures: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in visible(folder):
        if path.is_dir() or not is_picture(path):
            others.append((path, "a folder" if path.is_dir() else "no picture"))
        else:
            pictures[path.stem].append(path)
    return pictures, others


def starts(stem: str) -> Iterator[str]:
    """The stem, and what is before each of its underscores, the longest first."""
    while stem:
        yield stem
        stem = stem.rpartition("_")[0]
