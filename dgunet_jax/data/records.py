"""Pictures in the record files of TensorFlow Datasets, which are read without TensorFlow.

A few large files instead of thousands of small ones: what network file systems and clouds want.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from numpy.typing import NDArray

from dgunet_jax.data.record_folders import FORMAT, INFO, datasets_in, find_folder, look_into
from dgunet_jax.data.sources import Files, FileSource, stamp
from dgunet_jax.images.reading import Encoded, read_header, read_rgb
from dgunet_jax.system.errors import UserError, listed, reason

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
            raise UserError(f"{place}: holds pairs; leave sigma out")
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

    def read(self, index: int, rows: int | None = None) -> tuple[NDArray[np.uint8], ...]:
        encoded = self._encoded(index)
        images = tuple(map(read_rgb, encoded))
        if len({image.shape for image in images}) > 1:
            sizes = " and ".join(f"{image.shape[1]}×{image.shape[0]}" for image in images)
            raise UserError(f"{encoded[0].name}: its pair is {sizes}; both must have one size")
        return tuple(image[:rows] for image in images)

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
