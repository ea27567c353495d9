"""What the folder of a prepared data set of TFDS holds, read from its JSON files alone.

TFDS itself imports whatever module these files name, and opens whatever file they point to. Here
classes are names that are compared and never imported, and every file lies in the folder.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import local_path, read_bytes

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
    folder = local_path(place)
    if folder.is_dir():
        found = datasets_in(folder)
        if len(found) != 1:
            raise UserError(f"{folder}: holds {len(found)} TFDS data sets; it must be one")
        return found[0]
    if place.startswith(("~", ".", "/")) or place.count("/") > 1:
        raise UserError(f"{place}: no such folder")
    return _named(place)


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
