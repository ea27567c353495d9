"""Where the pictures of a data set and their targets lie, as published and as users keep them."""

import dataclasses
from pathlib import Path

from dgunet_jax.data.folders import visible
from dgunet_jax.data.pairs import by_stem, match_stems
from dgunet_jax.errors import UserError, reason

# Folders of degraded pictures and of their targets; in them, or in these parts of a data set.
_FOLDERS = (
    ("input", "target"),
    ("blur", "sharp"),
    ("hazy", "gt"),
    ("hazy", "clear"),
    ("low", "high"),
)
_PARTS = ("", "test", "eval15", "outdoor")
_CLEAN = ("target", "original_png")
_LIST = "*_test_list.txt"
_HIDE, _HIDE_TARGETS = ("test/test-close-ups", "test/test-long-shot"), "GT"


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


def find_pairs(folder: Path) -> Pairs:
    """The pairs of a data set, whatever is wrong with others of them.

    They lie in `input/` and `target/` (or `blur/` and `sharp/`, `hazy/` and `gt/` or `clear/`,
    `low/` and `high/`) of the folder, of its `test/`, `eval15/` or `outdoor/`, or of one folder for
    each sequence in one of these; or where RealBlur's list of its test pictures says; or as HIDE
    comes, in `test/test-close-ups/`, `test/test-long-shot/` and `GT/`.

    An input belongs to the target of the same stem or, if there is none, to the longest stem that
    is its own up to an underscore: SOTS' 0001_0.8_0.2.jpg belongs to 0001.png.

    Raises:
      UserError: there is no such folder, or nothing in it lies like this.
    """
    lists = [path for path in visible(folder) if path.match(_LIST)]
    if len(lists) == 1:
        return _listed(folder, lists[0])
    if all((folder / name).is_dir() for name in (*_HIDE, _HIDE_TARGETS)):
        return _hide(folder)
    found = Pairs()
    parts = [folder / part for part in _PARTS if (folder / part).is_dir()]
    found_in = (look(part) for look in (_folders, _sequences) for part in parts)
    folders = next(filter(None, found_in), None)
    if folders is None:
        names = ", ".join(f"{first}/ and {second}/" for first, second in _FOLDERS)
        raise UserError(f"{folder}: holds no pairs; they lie in {names} (see docs/datasets.md)")
    for inputs, targets, sequence in folders:
        _match(inputs, targets, sequence, found)
    found.pairs.sort(key=lambda pair: pair.place)
    return found


def clean_folder(folder: Path) -> Path:
    """Where the clean pictures of a data set lie, which may come with noisy ones."""
    return next((folder / name for name in _CLEAN if (folder / name).is_dir()), folder)


def _folders(folder: Path, sequence: str = "") -> list[tuple[Path, Path, str]]:
    """The folders of inputs and of targets, and what begins the places of their pairs."""
    return [
        (folder / first, folder / second, sequence)
        for first, second in _FOLDERS
        if (folder / first).is_dir() and (folder / second).is_dir()
    ][:1]


def _sequences(folder: Path) -> list[tuple[Path, Path, str]]:
    """The same of every folder in it."""
    return [
        each
        for path in visible(folder)
        if path.is_dir()
        for each in _folders(path, f"{path.name}/")
    ]


def _hide(folder: Path) -> Pairs:
    """HIDE's test pictures; its targets lie with those of the training pictures."""
    found = Pairs()
    for name in _HIDE:
        _match(folder / name, folder / _HIDE_TARGETS, "", found, all_targets=False)
    found.others = list(dict.fromkeys(found.others))
    found.pairs.sort(key=lambda pair: pair.place)
    return found


def _match(
    inputs: Path, targets: Path, sequence: str, found: Pairs, all_targets: bool = True
) -> None:
    (degraded, others), (clean, more) = map(by_stem, (inputs, targets))
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
