"""Which files of a folder are a degraded picture and the clean one it belongs to."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dgunet_jax.data.folders import is_picture, visible
from dgunet_jax.errors import UserError
from dgunet_jax.wording import listed

# Folders of degraded pictures and of the clean ones they belong to.
FOLDERS = (
    ("input", "target"),
    ("blur", "sharp"),
    ("hazy", "gt"),
    ("hazy", "clear"),
    ("low", "high"),
)
FOLDER_NAMES = ", ".join(f"{first}/ and {second}/" for first, second in FOLDERS)
_GOPRO_FOLDERS = FOLDERS[1]
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

    * in `input/` and `target/`, or in `blur/` and `sharp/`, `hazy/` and `gt/` or `clear/`, `low/`
      and `high/`; other folders beside them are not looked at;
    * as GoPro comes: in `blur/` and `sharp/` of one folder for every sequence; `blur_gamma/` is not
      looked at;
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
        raise UserError(f"{folder}: holds no pairs; they lie in {FOLDER_NAMES}")
    if len(parts) > 1:
        raise UserError(f"{folder}: holds pairs in {' and in '.join(_PARTS)}; name one of them")
    return _layout(parts[0])


def _layout(folder: Path) -> list[tuple[Path, Path, str]]:
    """The folders of inputs and of targets, and what begins the names of their pairs."""
    for names in FOLDERS:
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
    problems: list[tuple[Path, str]] = []
    pictures: list[dict[str, list[Path]]] = []
    for folder in (input_folder, target_folder):
        found, others = by_stem(folder) if folder.is_dir() else ({}, [folder])
        pictures.append(found)
        problems += [(path, _what(path)) for path in others]
    matched = match_stems(*pictures)
    problems += [(path, "no target") for path in matched.without_target]
    for inputs, targets in matched.ambiguous.values():
        several = [*inputs, *(targets if len(targets) > 1 else [])]
        problems += [(path, "ambiguous") for path in several]
    problems += [(path, "no input") for path in matched.without_input]
    return matched.pairs, problems


def _what(path: Path) -> str:
    """Why something that lies where a picture should is none."""
    if path.is_dir():
        return "a folder"
    return "no picture" if path.exists() else "missing"


@dataclasses.dataclass
class Matched:
    """Which inputs and targets belong together.

    Attributes:
      pairs: an input and its target.
      without_target, without_input: those that are alone.
      ambiguous: by the input's stem, inputs and targets, of which several have one name.
    """

    pairs: list[tuple[Path, Path]] = dataclasses.field(default_factory=list)
    without_target: list[Path] = dataclasses.field(default_factory=list)
    without_input: list[Path] = dataclasses.field(default_factory=list)
    ambiguous: dict[str, tuple[Sequence[Path], Sequence[Path]]] = dataclasses.field(
        default_factory=dict
    )


def match_stems(
    inputs: Mapping[str, Sequence[Path]], targets: Mapping[str, Sequence[Path]]
) -> Matched:
    """Pairs files by their stems, as `find_pairs` says."""
    matched, used = Matched(), set()
    for stem, paths in inputs.items():
        target = next((start for start in _starts(stem) if start in targets), None)
        used.add(target)
        if target is None:
            matched.without_target += paths
        elif len(paths) > 1 or len(targets[target]) > 1:
            matched.ambiguous[stem] = paths, targets[target]
        else:
            matched.pairs.append((paths[0], targets[target][0]))
    for stem, paths in targets.items():
        if stem not in used:
            matched.without_input += paths
    return matched


def by_stem(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The pictures in a folder, and what else there is.

    Raises:
      UserError: there is no such folder.
    """
    pictures: dict[str, list[Path]] = defaultdict(list)
    others = []
    for path in visible(folder):
        if path.is_dir() or not is_picture(path):
            others.append(path)
        else:
            pictures[path.stem].append(path)
    return pictures, others


def _starts(stem: str) -> Iterator[str]:
    """The stem, and what is before each of its underscores, the longest first."""
    while stem:
        yield stem
        stem = stem.rpartition("_")[0]
