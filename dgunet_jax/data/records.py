"""Pictures in the record files of TensorFlow Datasets, which are read without TensorFlow.

A few large files instead of thousands of small ones: what network file systems and clouds want.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from numpy.typing import NDArray

from dgunet_jax.data.sources import Files, FileSource
from dgunet_jax.errors import UserError, reason
from dgunet_jax.images.reading import Encoded, read_header, read_rgb

_FORMAT = "array_record"  # the one of which TFDS reads single records
_PAIR = ("input", "target")
# What data sets of clean pictures call them; DIV2K has small ones beside `hr`.
_CLEAN = ("target", "image", "hr")
_INFO = "dataset_info.json"


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
    for each in files:
        if not each.name.isprintable():
            raise UserError(f"{each.paths[0]!r}: its name cannot be written as text; rename it")
    if folder.is_dir() and _datasets(folder):
        raise UserError(f"{folder}: holds a data set already; choose another folder")
    tfds.disable_progress_bar()
    try:
        builder = Pictures(files, data_dir=folder, file_format=_FORMAT)
        # TFDS speaks of downloads, and makes a folder for them.
        with tempfile.TemporaryDirectory() as nothing, contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=nothing)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {reason(error)}") from error
    return Path(builder.data_dir)


class Pictures(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of `pack`: `name`, and `target` alone or `input` and `target`."""

    VERSION = tfds.core.Version("1.0.0")
    name = "pictures"

    def __init__(self, files: Sequence[Files], **settings: Any):
        self._files = files
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, None))
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
    """A `Source` of the pictures in a data set that TFDS has prepared as ArrayRecord files.

    Nothing is decoded, and no record read, before it is asked for; what is decoded is not kept.

    Args:
      where: the folder of the data set, or one that holds no other, or TFDS' name of one in
        TFDS_DATA_DIR; with "@" and a split behind it, or else its only one or `train`.
      pairs: whether pairs are wanted, the features `input` and `target`; else the feature
        `target`, `image` or `hr`.

    Raises:
      UserError: there is no such data set, split or feature, or single records cannot be read.
    """

    def __init__(self, where: str, *, pairs: bool):
        place, split = where, ""
        if "@" in where and not os.path.isdir(os.path.expanduser(where)):
            place, _, split = where.rpartition("@")
        builder: Any = _open(place)
        if not builder.info.splits:
            raise UserError(f"{place}: is not prepared in TFDS_DATA_DIR, {builder.data_dir}")
        features = {name for name, kind in builder.info.features.items()
                    if isinstance(kind, tfds.features.Image)}  # fmt: skip
        self._features = _PAIR if pairs else tuple(x for x in _CLEAN if x in features)[:1]
        if not self._features or not features.issuperset(self._features):
            wanted = " and ".join(_PAIR) if pairs else " or ".join(_CLEAN)
            found = ", ".join(sorted(features)) or "none"
            raise UserError(f"{place}: needs pictures called {wanted}; it has {found}")
        if not pairs and features.issuperset(_PAIR):
            raise UserError(f"{place}: holds pairs; leave sigma out")
        splits = [*builder.info.splits]
        split = split or (splits[0] if len(splits) == 1 else "train")
        if split not in splits:
            raise UserError(f"{place}: has no split {split!r}; it has {', '.join(splits)}")
        decoders = {name: tfds.decode.SkipDecoding() for name in features}
        try:
            self._records: Any = builder.as_data_source(split=split, decoders=decoders)
        except (NotImplementedError, ValueError, OSError) as error:
            raise UserError(f"{place}: cannot be read: {reason(error)}") from error
        self._place = f"{place}@{split}"
        self._sizes: dict[int, tuple[int, int]] = {}

    @property
    def pairs(self) -> bool:
        return len(self._features) == 2

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        name = self._record(index).get("name")
        if isinstance(name, bytes):  # and not a class, say
            return name.decode(errors="replace")
        return f"{self._place}[{index}]"

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
        try:
            return self._records[index]
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            # A checksum is wrong, a file gone, or there is a feature that TensorFlow alone reads.
            raise UserError(f"{self._place}[{index}]: cannot be read: {reason(error)}") from error

    def _encoded(self, index: int) -> list[Encoded]:
        record = self._record(index)
        return [Encoded(f"{self._place}[{index}].{name}", record[name]) for name in self._features]


def _open(place: str) -> tfds.core.DatasetBuilder:
    if not place:
        raise UserError('"tfds:" needs a folder, or the name of a data set in TFDS_DATA_DIR')
    try:
        folder = Path(os.path.expanduser(place))  # which raises for nobody
        if not folder.is_dir() and (place.startswith(("~", ".", "/")) or place.count("/") > 1):
            raise UserError(f"{place}: no such folder")
        if folder.is_dir():
            found = _datasets(folder)
            if len(found) != 1:
                raise UserError(f"{folder}: holds {len(found)} TFDS data sets; it must be one")
            return tfds.builder_from_directory(found[0])
        return tfds.builder(place)  # of none in TFDS_DATA_DIR, one without splits
    except (tfds.core.DatasetNotFoundError, FileNotFoundError):
        raise UserError(
            f"{place}: neither a folder nor the name of a data set in TFDS_DATA_DIR"
        ) from None
    except UserError:
        raise
    except Exception as error:  # TFDS raises errors of many kinds on damaged files and wrong names
        raise UserError(f"{place}: cannot be read: {reason(error)[:300]}") from error


def _datasets(folder: Path) -> list[Path]:
    """The folders in it, itself included, that hold a prepared data set."""
    depths = ("", "*/", "*/*/", "*/*/*/")  # name, config, version
    return [path.parent for depth in depths for path in sorted(folder.glob(f"{depth}{_INFO}"))]
