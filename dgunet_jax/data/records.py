"""Training sets packed as records of TensorFlow Datasets."""

import contextlib
import dataclasses
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from numpy.typing import NDArray

from dgunet_jax.data.sources import Files, FileSource, stamp
from dgunet_jax.images import Encoded, read_header, read_rgb
from dgunet_jax.system.errors import UserError, listed, reason
from dgunet_jax.system.files import read_bytes, user_path
from dgunet_jax.system.storage import PathLike, is_remote

_PAIR = ("input", "target")
# What data sets of clean pictures call them; DIV2K has small ones beside `hr`.
_CLEAN = ("target", "image", "hr")


def pack(files: Sequence[Files], folder: Path) -> Path:
    """Writes pictures or pairs, their files as they are, into records.

    Args:
      files: clean pictures or pairs, in the order of their indices.
      folder: where; it is made.

    Returns:
      The folder of the data set in it.

    Raises:
      UserError: the folder holds a data set already, or cannot be written; or what `FileSource`
        says of the files.
    """
    _check_on_disk(folder)
    FileSource(files, cache_bytes=0)
    if unnamed := [str(each.paths[0]) for each in files if not each.name.isprintable()]:
        raise UserError(
            f"names that cannot be written as text ({len(unnamed)}): {listed(unnamed)};"
            " rename these files"
        )
    if folder.is_dir() and datasets_in(folder):
        raise UserError(f"{folder}: holds a data set already; choose another folder")
    new = not folder.exists()
    tfds.disable_progress_bar()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What is written before it fails goes away with the temporary folder. TFDS speaks of
        # downloads, and makes a folder for them.
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".") as unfinished,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            builder = Pictures(files, data_dir=unfinished, file_format=FORMAT)
            builder.download_and_prepare(download_dir=Path(unfinished, "downloads"))
            os.rename(Path(unfinished, Pictures.name), folder / Pictures.name)
    except Exception as error:  # TFDS and its writer raise errors of any type on a full disk
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise UserError(f"{folder}: cannot be written: {reason(error)}") from error
    return folder / Path(builder.data_dir).relative_to(unfinished)


class Pictures(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of `pack`: `name`, and `target` alone or `input` and `target`."""

    VERSION = tfds.core.Version("1.0.0")
    name = "pictures"

    def __init__(self, files: Sequence[Files], **settings: Any):
        self._files = files
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        image = _image()
        names = _PAIR[-len(self._files[0].paths) :]
        features = {"name": tfds.features.Text(), **dict.fromkeys(names, image)}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            # Else the order were that of the keys' hashes.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, str]]]:
        for i, each in enumerate(self._files):
            names = _PAIR[-len(each.paths) :]
            paths = dict(zip(names, map(str, each.paths), strict=True))
            yield i, {"name": each.name, **paths}


class RecordSource:
    """A `Collection` of the pictures in a data set that TFDS has prepared as ArrayRecord files.

    Nothing is decoded, and no record read, before it is asked for; what is decoded is not kept.
    What else is in the records than pictures and their names is not read.

    Args:
      where: what `record_folders.find_folder` takes; with "@" and a split behind it, or else its
        only one or `train`.
      pairs: whether pairs are wanted, the features `input` and `target`; else the feature
        `target`, `image` or `hr`.

    Raises:
      UserError: there is no such data set, split or feature, or single records cannot be read.
    """

    def __init__(self, where: str, *, pairs: bool):
        place, split = where, ""
        if "@" in where and not os.path.isdir(os.path.expanduser(where)):
            place, _, split = where.rpartition("@")
        prepared = look_into(find_folder(place))
        features = prepared.pictures
        self._features = _PAIR if pairs else tuple(x for x in _CLEAN if x in features)[:1]
        if not self._features or not features.issuperset(self._features):
            wanted = " and ".join(_PAIR) if pairs else " or ".join(_CLEAN)
            found = ", ".join(sorted(features)) or "none"
            raise UserError(f"{place}: needs pictures called {wanted}; it has {found}")
        if not pairs and features.issuperset(_PAIR):
            raise UserError(f"{place}: holds pairs; leave degradation out")
        splits = [*prepared.splits]
        split = split or (splits[0] if len(splits) == 1 else "train")
        if split not in splits:
            raise UserError(f"{place}: has no split {split!r}; it has {', '.join(splits)}")
        files = prepared.files(split)
        self._records = _open(place, files)
        self._stamp = stamp([path for path, _ in files])
        self.bad: Mapping[int, str] = {}  # which are is known when they are decoded
        # Only of these features are there classes: TFDS would import those of the data set.
        kinds: dict[str, Any] = {name: _image() for name in self._features}
        if "name" in prepared.texts:
            kinds["name"] = tfds.features.Text()
        self._parser = tfds.features.FeaturesDict(kinds)
        self._place = f"{place}@{split}"
        self._sizes: dict[int, tuple[int, int]] = {}

    @property
    def pairs(self) -> bool:
        return len(self._features) == 2

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        name = self._record(index).get("name")
        return f"{self._place}[{index}]" if name is None else name.decode(errors="replace")

    def keys(self) -> list[str] | None:
        return None

    def stamp(self, index: int) -> str:
        return f"{index} {self._stamp}"

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            header = read_header(self._encoded(index)[0])
            self._sizes[index] = header.height, header.width
        return self._sizes[index]

    def read(self, index: int) -> tuple[NDArray[np.uint8], ...]:
        encoded = self._encoded(index)
        images = tuple(map(read_rgb, encoded))
        if len({image.shape for image in images}) > 1:
            sizes = " and ".join(f"{image.shape[1]}×{image.shape[0]}" for image in images)
            raise UserError(f"{encoded[0].name}: its pair is {sizes}; both must have one size")
        return images

    def _record(self, index: int) -> dict[str, bytes]:
        skipped = {name: tfds.decode.SkipDecoding() for name in self._features}
        try:
            encoded: Any = self._records[index]
            record: Any = self._parser.deserialize_example_np(encoded, decoders=skipped)
        except Exception as error:  # the libraries raise errors of any type on a damaged record
            raise UserError(f"{self._place}[{index}]: cannot be read: {reason(error)}") from error
        return record

    def _encoded(self, index: int) -> list[Encoded]:
        record = self._record(index)
        return [Encoded(f"{self._place}[{index}].{name}", record[name]) for name in self._features]


def _image() -> tfds.features.Image:
    return tfds.features.Image(shape=(None, None, None))


def _open(place: str, files: Sequence[tuple[Path, int]]) -> ArrayRecordDataSource:
    """The records of all files; each file itself tells how many it holds."""
    if not files:
        raise UserError(f"{place}: holds no records")
    try:
        records = ArrayRecordDataSource([os.path.realpath(path) for path, _ in files])
    except Exception as error:  # of any type on a damaged file
        raise UserError(f"{place}: cannot be read: {reason(error)}") from error
    if len(records) != (said := sum(length for _, length in files)):
        raise UserError(f"{place}: holds {len(records)} records; its {INFO} says {said}")
    return records


FORMAT = "array_record"  # the one of which single records can be read
INFO, FEATURES = "dataset_info.json", "features.json"

_OWN = "tensorflow_datasets.core.features."  # where the classes of features are defined
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")  # the last in old files
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_DEPTHS = ("", "*/", "*/*/", "*/*/*/")  # name, config, version


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
      folder: where it lies.
      pictures: names of the features that are images.
      texts: names of those that are text.
      splits: the templates of their files' names, and the number of records in each file.
    """

    folder: Path
    pictures: frozenset[str]
    texts: frozenset[str]
    splits: Mapping[str, tuple[str, list[int]]]

    def files(self, split: str) -> list[tuple[Path, int]]:
        """Return the files of a split, and how many records each should hold.

        Raises:
          UserError: one is missing or lies elsewhere.
        """
        template, lengths = self.splits[split]
        found = []
        for i, length in enumerate(lengths):
            path = self.folder / _file_name(self.folder, template, i, len(lengths))
            _check_inside(path, self.folder)
            found.append((path, length))
        return found


def look_into(folder: Path) -> Prepared:
    """Read what a data set's folder says of itself.

    Raises:
      UserError: a file is missing or damaged, or names a class that is not one of TFDS' features;
        or the records are of another format.
    """
    features, info = (_read_json(folder, name) for name in (FEATURES, INFO))
    place = folder / FEATURES
    try:
        for name in _class_names([features, info.get("features")]):
            if not name.startswith(_OWN):
                raise UserError(f"{place}: names {name!r}; only classes in {_OWN}* are read")
        kinds = {name: _class(each) for name, each in _top_level(features).items()}
        place = folder / INFO
        formats = [info.get("fileFormat"), *info.get("alternativeFileFormats", ())]
        if FORMAT not in formats:
            raise UserError(f"{folder}: holds records of {formats[0]}; only {FORMAT} is read")
        return Prepared(
            folder,
            frozenset(name for name, kind in kinds.items() if kind == "image_feature.Image"),
            frozenset(name for name, kind in kinds.items() if kind == "text_feature.Text"),
            {str(each["name"]): _split(info, each) for each in info.get("splits", ())},
        )
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{place}: is damaged: {reason(error)}") from error


def find_folder(place: str) -> Path:
    """Return the folder of a data set.

    Args:
      place: the folder, or one that holds no other data set, or the name of one in TFDS_DATA_DIR:
        NAME, NAME/CONFIG, and with ":" and a version behind it; else the newest is meant.

    Raises:
      UserError: there is no such folder or name, or it means several.
    """
    if not place:
        raise UserError('"tfds:" needs a folder, or the name of a data set in TFDS_DATA_DIR')
    _check_on_disk(place)
    folder = user_path(place)
    if folder.is_dir():
        found = datasets_in(folder)
        if len(found) != 1:
            raise UserError(f"{folder}: holds {len(found)} TFDS data sets; it must be one")
        return found[0]
    if place.startswith(("~", ".", "/")) or place.count("/") > 1:
        raise UserError(f"{place}: no such folder")
    return _named(place)


def _check_on_disk(place: PathLike) -> None:
    if is_remote(place):
        raise UserError(
            f"{place}: records are read from a disk and written to one; copy them there"
        )


def datasets_in(folder: Path) -> list[Path]:
    """Return the folders in it, itself included, that hold a prepared data set."""
    return [path.parent for depth in _DEPTHS for path in sorted(folder.glob(f"{depth}{INFO}"))]


def _named(place: str) -> Path:
    match = re.fullmatch(r"(\w[\w.+-]*(?:/\w[\w.+-]*)?)(?::(\d+\.\d+\.\d+))?", place)
    data_dir = Path(os.path.expanduser(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")))
    found = datasets_in(data_dir / match[1]) if match else []
    if match and match[2]:
        found = [path for path in found if path.name == match[2]]
    if not found:
        raise UserError(f"{place}: neither a folder nor a data set in TFDS_DATA_DIR, {data_dir}")
    configs = {path.parent if _VERSION.fullmatch(path.name) else path for path in found}
    if len(configs) > 1:
        names = ", ".join(sorted(path.name for path in configs))
        raise UserError(f"{place}: has several configurations; name one of {names}")
    return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    _check_inside(path, folder)
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is damaged: {reason(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged: it does not hold an object")
    return content


def _check_inside(path: Path, folder: Path) -> None:
    """Raise a UserError unless a regular file lies in a folder, links being followed."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise UserError(f"{path}: is a link out of its data set, which is not followed")


def _class_names(content: Any) -> Iterator[str]:
    """All classes that are named, at any depth, also in JSON that is a string."""
    if isinstance(content, str) and content.lstrip().startswith(("{", "[")):
        yield from _class_names(json.loads(content))
    elif isinstance(content, list):
        for each in content:
            yield from _class_names(each)
    elif isinstance(content, dict):
        for key, each in content.items():
            if key in _CLASS_KEYS and isinstance(each, str):
                yield each
            elif key != "description":
                yield from _class_names(each)


def _top_level(features: dict[str, Any]) -> dict[str, Any]:
    content = features.get("featuresDict", features.get("features_dict"))
    if content is not None:
        return content["features"]
    content = features["content"]  # old files
    return content.get("features", content) if isinstance(content, dict) else json.loads(content)


def _class(feature: dict[str, Any]) -> str:
    return next(feature[key] for key in _CLASS_KEYS if key in feature).removeprefix(_OWN)


def _split(info: dict[str, Any], split: dict[str, Any]) -> tuple[str, list[int]]:
    """The template of a split's file names, without shards, and the lengths of its files."""
    names = {"DATASET": info["name"], "SPLIT": split["name"], "FILEFORMAT": FORMAT}
    template = split.get("filepathTemplate") or _TEMPLATE
    for field, name in names.items():
        template = template.replace(f"{{{field}}}", name)
    return template, [int(length) for length in split.get("shardLengths", ())]


def _file_name(folder: Path, template: str, index: int, count: int) -> str:
    """The name of a file of a split, which stays in the folder."""
    digits = max(5, len(str(count)))
    shard, shards = f"{index:0{digits}}", f"{count:0{digits}}"
    name = template.replace("{SHARD_X_OF_Y}", f"{shard}-of-{shards}")
    name = name.replace("{SHARD_INDEX}", shard).replace("{NUM_SHARDS}", shards)
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", name) or ".." in name.split("/"):
        raise UserError(
            f"{folder / INFO}: names the file {name[:100]!r}; it must lie in the folder"
        )
    return name
