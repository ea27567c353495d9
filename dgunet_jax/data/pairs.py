"""Which degraded picture and which clean one belong together, by the names of files and folders."""

import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from dgunet_jax.data.folders import is_folder, is_picture, visible, walk
from dgunet_jax.system.errors import UserError, listed

Key = TypeVar("Key")

# Words by which data sets tell degraded pictures from clean ones, in names of folders and files.
_DEGRADED = {
    "input", "inputs", "blur", "blurry", "blurred", "hazy", "haze", "low", "lq", "lr", "noisy",
    "noise", "rain", "rainy", "snow", "snowy", "dark", "degraded", "distorted", "corrupted",
    "synthetic", "real", "data",
}  # fmt: skip
_CLEAN = {
    "target", "targets", "sharp", "gt", "clear", "clean", "high", "hq", "hr", "normal",
    "original", "reference", "ref", "label", "labels", "mean",
}  # fmt: skip
_OTHER_WORDS = (
    (re.compile(r"ground[ _-]?truth"), "gt"),
    (re.compile(r"(?<![a-z])non?[ _-]?(rain|haze|noise|snow|blur)(?![a-z])"), "clean"),
    (re.compile(r"(rain|haze|noise|snow|blur)[ _-]?free"), "clean"),
    (re.compile(r"(low|normal|high)[ _-]?light"), r"\1"),
)
_SCALE = re.compile(r"(?<=\d)[ _-]?x(2|3|4|8|16)$")  # of a picture that was made smaller: 0001x2
_WORD = re.compile(r"[^\W\d_]+|\d+")

# Names of folders that come before all others.
_USUAL = (
    ("input", "target"),
    ("blur", "sharp"),
    ("hazy", "gt"),
    ("hazy", "clear"),
    ("low", "high"),
)
FOLDER_NAMES = (
    "input/ and target/, blur/ and sharp/, hazy/ and gt/, noisy/ and clean/, low/ and high/,"
    " lq/ and gt/, LR/ and HR/, or others like these"
)


@dataclasses.dataclass
class Matched:
    """Which inputs and targets belong together.

    Attributes:
      pairs: an input and its target.
      without_target, without_input: those that are alone.
      ambiguous: inputs and targets of which several could belong together.
      others: what is not a picture by its name.
      misfits: pictures that do not fit a pattern.
    """

    pairs: list[tuple[Path, Path]] = dataclasses.field(default_factory=list)
    without_target: list[Path] = dataclasses.field(default_factory=list)
    without_input: list[Path] = dataclasses.field(default_factory=list)
    ambiguous: list[tuple[Sequence[Path], Sequence[Path]]] = dataclasses.field(default_factory=list)
    others: list[Path] = dataclasses.field(default_factory=list)
    misfits: list[Path] = dataclasses.field(default_factory=list)

    def add(self, inputs: Sequence[Path], targets: Sequence[Path]) -> None:
        """Add files of one name."""
        if not targets:
            self.without_target += inputs
        elif not inputs:
            self.without_input += targets
        elif len(inputs) > 1 or len(targets) > 1:
            self.ambiguous.append((inputs, targets))
        else:
            self.pairs.append((inputs[0], targets[0]))


@dataclasses.dataclass(frozen=True)
class Pattern:
    """How the names of inputs and targets are made of the same parts.

    "{}_rain.png -> {}_clean.png": each {} stands for one or more characters other than "/", and
    what they are in an input they are in its target, in their order; a target may leave the last
    ones out. Names with folders, as in "{}/blur/{}.png -> {}/sharp/{}.png", are those below the
    data set's folder.
    """

    input: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
          UserError: it is not one.
        """
        sides = [side.strip() for side in text.split("->")]
        rest = [side.replace("{}", "") for side in sides]
        if (
            len(sides) != 2
            or any("{" in side or "}" in side for side in rest)
            or not sides[0].count("{}") >= sides[1].count("{}") >= 1
            or any(side.startswith("/") or ".." in side.split("/") for side in sides)
        ):
            raise UserError(
                f"pairs is {text!r}; it must be a pattern such as '{{}}_rain.png -> {{}}_clean.png'"
                ", whose target has no more {} than its input"
            )
        return cls(*sides)

    @property
    def has_folders(self) -> bool:
        return "/" in self.input or "/" in self.target

    def match(self, inputs: Mapping[str, Path], targets: Mapping[str, Path]) -> Matched:
        """Pair files by their names.

        Where both are the same files, one that fits both sides is an input if its target is there.
        """
        matched, used = Matched(), set()
        known = {name: path for name, path in targets.items() if _fields(self.target, name)}
        for name, path in inputs.items():
            fields = _fields(self.input, name)
            target = None if fields is None else self._target(fields.groups())
            if known.get(name) == path and target not in known:
                continue
            if target is None:
                matched.misfits.append(path)
                continue
            matched.add([path], [known[target]] if target in known else [])
            used |= {name, target} if known.get(name) == path else {target}
        matched.without_input += [path for name, path in known.items() if name not in used]
        matched.misfits += [
            path for name, path in targets.items() if name not in known and name not in inputs
        ]
        return matched

    def _target(self, fields: Sequence[str]) -> str:
        first, *texts = self.target.split("{}")
        return first + "".join(map("".join, zip(fields, texts, strict=False)))


def match_folders(inputs: Path, targets: Path, pattern: Pattern | None = None) -> Matched:
    """Pair the pictures in two folders.

    An input belongs to the target of the same stem, that is the name without its ending. Without
    such a target it belongs to the one whose stem is the input's up to an underscore, the longest
    such: SOTS' 0001_0.8_0.2.jpg belongs to 0001.png. So a target may have several inputs.

    Of the files that are left, an input belongs to the one target that has the same words and
    numbers but for those that tell degraded pictures from clean ones, zeros in front of numbers and
    a scale at the end: rain-001 and norain-1, 0_rain and 0_clean, 0001x2 and 0001.

    Args:
      inputs, targets: the folders; one that is missing is empty.
      pattern: what is followed instead. If it has folders, images lie anywhere below `inputs`.

    Raises:
      UserError: a folder cannot be read.
    """
    if pattern is not None and pattern.has_folders:
        return _match_below(inputs, pattern)
    held = [visible(folder) if is_folder(folder) else [] for folder in (inputs, targets)]
    pictures = [[path for path in paths if _is_one(path)] for paths in held]
    if pattern is None:
        matched = _match_names(*pictures)
    else:
        matched = pattern.match(*({path.name: path for path in paths} for paths in pictures))
    matched.others = [path for paths in held for path in paths if not _is_one(path)]
    return matched


def _match_below(folder: Path, pattern: Pattern) -> Matched:
    """Pair the images below a folder; folders that hold none of a pair are not looked at."""
    visible(folder)
    problems: list[str] = []
    files = sorted(walk(folder, problems))
    if problems:
        raise UserError(problems[0])
    pictures = {path.relative_to(folder).as_posix(): path for path in files if is_picture(path)}
    matched = pattern.match(pictures, pictures)
    held = [*(path for pair in matched.pairs for path in pair)]
    places = {path.parent for path in (*held, *matched.without_input, *matched.without_target)}
    matched.misfits = [path for path in matched.misfits if path.parent in places]
    matched.others = [path for path in files if path.parent in places and not is_picture(path)]
    return matched


def folders_of_pairs(folder: Path) -> tuple[Path, Path] | None:
    """Find the folders of degraded and of clean pictures in a folder, by their names.

    Their names have one of the words for these, in any case, and else the same words: blur and
    Sharp, or input_crops and target_crops. Those without other words come first.

    Raises:
      UserError: there are several of one kind, or the folder cannot be read.
    """
    inner = [path for path in visible(folder) if is_folder(path)]
    folded = _grouped(inner, lambda path: path.name.casefold())
    for pair in _USUAL:
        if all(name in folded for name in pair):
            return _only_ones(folder, [folded[name] for name in pair])
    kinds: dict[tuple[str, ...], list[list[Path]]] = defaultdict(lambda: [[], []])
    for path in inner:
        words = _words(path.name)
        told = [word for word in words if word in _DEGRADED | _CLEAN]
        if len(told) == 1:
            rest = tuple(word for word in words if word not in told)
            kinds[rest][told[0] in _CLEAN].append(path)
    found = [both for both in kinds.values() if all(both)]
    if all(kinds[()]):
        found = [kinds[()]]
    if not found:
        return None
    return _only_ones(folder, [[*itertools.chain(*paths)] for paths in zip(*found, strict=True)])


def _only_ones(folder: Path, groups: Sequence[Sequence[Path]]) -> tuple[Path, Path]:
    """The one folder of each kind."""
    for paths in groups:
        if len(paths) > 1:
            names = " and ".join(f"{path.name}/" for path in paths)
            raise UserError(f"{folder}: {names} could both be meant; move one of them away")
    ((inputs,), (targets,)) = groups
    return inputs, targets


def sequences_of_pairs(folder: Path) -> list[tuple[Path, Path, str]]:
    """Find the folders of pairs in each folder in a folder, and the names of these with a "/".

    A folder that lacks one, or both, stands with the names that the others' have: it is missing.

    Raises:
      UserError: as `folders_of_pairs`.
    """
    found = {path: folders_of_pairs(path) for path in visible(folder) if is_folder(path)}
    known = next((names for names in found.values() if names is not None), None)
    if known is None:
        return []
    missing = {path: (path / known[0].name, path / known[1].name) for path in found}
    return [(*(names or missing[path]), f"{path.name}/") for path, names in found.items()]


def _is_one(path: Path) -> bool:
    return is_picture(path) and not is_folder(path)


def _match_names(inputs: Sequence[Path], targets: Sequence[Path]) -> Matched:
    matched = Matched()
    stems = _grouped(targets, lambda path: path.stem)
    left: list[Path] = []
    used = set()
    for stem, paths in _grouped(inputs, lambda path: path.stem).items():
        target = next((start for start in _starts(stem) if start in stems), None)
        if target is None:
            left += paths
        else:
            used.add(target)
            matched.add(paths, stems[target])
    unused = [path for stem, paths in stems.items() if stem not in used for path in paths]
    forms = [_grouped(paths, _form) for paths in (left, unused)]
    for form in dict.fromkeys((*forms[0], *forms[1])):
        ours, theirs = (found.get(form, []) for found in forms)
        if ours and theirs and not all(_fit(a, b) for a in ours for b in theirs):
            matched.add(ours, [])
            matched.add([], theirs)
        else:
            matched.add(ours, theirs)
    return matched


def _grouped(paths: Iterable[Path], key: Callable[[Path], Key]) -> dict[Key, list[Path]]:
    groups: dict[Key, list[Path]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups


def _starts(stem: str) -> Iterator[str]:
    """The stem, and what is before each of its underscores, the longest first."""
    while stem:
        yield stem
        stem = stem.rpartition("_")[0]


def _words(name: str) -> list[str]:
    """The words and numbers of a name, without case and zeros in front."""
    name = name.casefold()
    for words, word in _OTHER_WORDS:
        name = words.sub(word, name)
    name = _SCALE.sub("", name)
    return [word.lstrip("0") or "0" for word in _WORD.findall(name)]


def _form(path: Path) -> tuple[str, ...]:
    """What the names of a degraded picture and its clean one have in common."""
    return tuple(word for word in _words(path.stem) if word not in _DEGRADED | _CLEAN)


def _fit(image: Path, target: Path) -> bool:
    """Whether neither of two names says that it is the other kind."""
    ours, theirs = ({*_words(path.stem)} for path in (image, target))
    return ours & _CLEAN <= theirs and theirs & _DEGRADED <= ours


def _fields(side: str, name: str) -> re.Match[str] | None:
    """What stands for each {} of a pattern's side in a name; None if it does not fit."""
    return re.fullmatch("([^/]+)".join(map(re.escape, side.split("{}"))), name)


_PARTS = ("train", "test")

# The folders of inputs and of targets, and what begins the places of their pairs.
Folders = tuple[Path, Path, str]


@dataclasses.dataclass(frozen=True)
class PairPaths:
    """The files of a pair.

    Attributes:
      place: where the input lies below the folder of inputs, without its ending; of sequences with
        the sequence in front, as GoPro's SEQUENCE/FRAME.
    """

    input: Path
    target: Path
    place: str

    @property
    def name(self) -> str:
        """The place with "-" between folders, under which the pair is reported."""
        return self.place.replace("/", "-")


@dataclasses.dataclass
class Pairs:
    """The pairs in some folders, by name, and the files that belong to none.

    Attributes:
      problems: images without a counterpart, or with several, and why.
      others: what is not an image by its name.
    """

    pairs: list[PairPaths] = dataclasses.field(default_factory=list)
    problems: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    others: list[Path] = dataclasses.field(default_factory=list)

    def add(self, matched: Matched, inputs: Path, prefix: str = "") -> None:
        """Add what was matched in a folder of inputs; `prefix` begins the places."""
        for image, target in matched.pairs:
            place = prefix + image.relative_to(inputs).with_suffix("").as_posix()
            self.pairs.append(PairPaths(image, target, place))
        self.pairs.sort(key=lambda pair: pair.name)
        several = [
            path
            for ours, theirs in matched.ambiguous
            for path in (*ours, *(theirs if len(theirs) > 1 else ()))
        ]
        for reason, paths in (
            ("no target", matched.without_target),
            ("ambiguous", several),
            ("no input", matched.without_input),
            ("does not fit the pattern", matched.misfits),
        ):
            self.problems += [(path, reason) for path in paths]
        self.others += [path for path in matched.others if path not in self.others]


def find_pairs(folder: Path, pattern: Pattern | None = None) -> list[PairPaths]:
    """Return the pairs in a folder, by name, none of whose files is without a counterpart.

    They lie in one of these ways:

    * in two folders that `folders_of_pairs` knows; others beside them are not looked at;
    * as GoPro comes: in two such folders of one folder for every sequence; `blur_gamma/` is not
      looked at;
    * like that in its folder `train/` or `test/`, if it has only one of them;
    * where a pattern says; the folder itself, if it is of names without folders and there are none
      of the above.

    Which input belongs to which target is said by `match_folders`, or by the pattern.

    Args:
      folder: that of the data set, or a part of it.
      pattern: of the names of inputs and targets.

    Raises:
      UserError: no such folder, or nothing in it that lies like this; or, in one line, all files
        there that have no counterpart or several, or are not images by their ending, unless they
        are hidden.
    """
    found, lost = Pairs(), []
    for inputs, targets, prefix in _find_folders(folder, pattern):
        found.add(match_folders(inputs, targets, pattern), inputs, prefix)
        lost += [path for path in (inputs, targets) if not is_folder(path)]
    problems = [(path, "a folder" if is_folder(path) else "not a picture") for path in found.others]
    problems += [*found.problems, *((path, "missing") for path in lost)]
    if problems:
        named = [f"{path.relative_to(folder)} ({reason})" for path, reason in problems]
        raise UserError(
            f"{folder}: files without a pair ({len(named)}): {listed(named)};"
            " an input has the name of its target, or data.pairs (--pairs) says how they differ"
        )
    if not found.pairs:
        raise UserError(f"{folder}: holds no pictures")
    return found.pairs


def holds_pairs(folder: Path) -> bool:
    """Return whether there are pairs in a folder, as `find_pairs` finds them, or in parts of it.

    Raises:
      UserError: there is no such folder.
    """
    return bool(_parts(folder))


def _parts(folder: Path) -> list[Path]:
    """Return the folder, if pairs lie in it, or else those of its parts in which they do."""
    if folders_of_pairs(folder) is not None:
        return [folder]
    parts = [folder / name for name in _PARTS]
    found = [part for part in parts if is_folder(part) and _layout(part)]
    return found or ([folder] if _layout(folder) else [])


def _find_folders(folder: Path, pattern: Pattern | None) -> list[Folders]:
    parts = [] if pattern is not None and pattern.has_folders else _parts(folder)
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
    # Folders of others than blurred images may be several data sets.
    sequences = sequences_of_pairs(folder)
    blurred = any("blur" in inputs.name.casefold() for inputs, _, _ in sequences)
    return sequences if blurred else []
