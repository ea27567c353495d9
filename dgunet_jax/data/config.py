"""What training and validation see."""

import dataclasses
import math
import zlib
from typing import TYPE_CHECKING, Literal, get_args

from dgunet_jax.data.pairs import Pattern
from dgunet_jax.system.errors import UserError, either

if TYPE_CHECKING:
    from dgunet_jax.data.degradations import Degradation

PHOTOGRAPHS_PREFIX = "photographs:"
RECORDS_PREFIX = "tfds:"

Color = Literal["rgb", "luma", "studio_luma"]
Symmetries = Literal["dihedral", "flip_transpose"]

_LEAST = {
    "patch": 1,
    "batch": 1,
    "samples_per_picture": 1,
    "mixup_from_epoch": 0,
    "validation_crop": 1,
    "validation_limit": 1,
    "seed": 0,
    "workers": 0,
    "cache_bytes": 0,
    "skip_bad": 0,
}
_OPTIONAL = ("validation_crop", "validation_limit", "cache_bytes")


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One of several sets of pictures that a network is trained on.

    Attributes:
      name: of the source, by which settings, scores and messages know it.
      train, validation, pairs, degradation: as in `DataConfig`.
      weight: how many batches are its, in proportion to those of the others.
      patch, validation_crop, validation_limit: as in `DataConfig`; None: what that says.
    """

    name: str
    train: str
    validation: str
    weight: float = 1.0
    degradation: str | None = None
    pairs: str | None = None
    patch: int | None = None
    validation_crop: int | None = None
    validation_limit: int | None = None

    def __post_init__(self):
        if not self.name.isidentifier():
            raise UserError(f"a source is called {self.name!r}; it must be a word")
        if not 0 < self.weight < math.inf:
            raise UserError(f"weight of {self.name} is {self.weight}; it must be above 0")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and what is made of them.

    Attributes:
      train: a folder, or some of scikit-image's photographs, as in
        "photographs:astronaut,rocket". The folder is one of pairs (see `pairs.find_pairs`) or,
        if a `degradation` is given, of clean pictures. Or "tfds:" and a data set of records (see
        `records.RecordSource`).
      validation: the same.
      sources: several sets of pictures in place of `train` and `validation`. Each batch is of one
        of them, drawn by their weights.
      pairs: how the names of inputs and targets differ, as in "{}_rain.png -> {}_clean.png" (see
        `matching.Pattern`); None: as `matching.match_folders` finds out.
      degradation: what makes the inputs of clean pictures, as in "gaussian(25)" or
        "gaussian(0..55) | jpeg(60..95)" (see `degradations`). None: the folders hold pairs.
      color: "rgb"; "luma", full-range Y = 0.299 R + 0.587 G + 0.114 B; or "studio_luma", BT.601's
        from 16 to 235, as the published compressive-sensing models were trained, not rounded.
        Validation takes full-range luma for both.
      patch: side of the square training patches, pixels.
      batch: patches of a step, over all processes.
      samples_per_picture: patches an epoch takes of each picture.
      enlarge: the factor up to which patches are enlarged, 1 or more: each is cut out smaller and
        enlarged to `patch` by a factor f, log f uniform between 0 and log `enlarge`, which makes
        pictures as soft, pixel by pixel, as those of many cameras.
      symmetries: how patches are flipped and rotated: "dihedral" in all eight ways, or
        "flip_transpose" in the four that the published compressive-sensing models were trained in.
      saturation: whether the saturation of patches is changed in one of three draws, as the
        published deblurring models were trained.
      mixup_from_epoch: the epoch, counted from 1, from which on the images of a batch are mixed
        (see `mixup.draw_mixup`); 0: never.
      validation_crop: side of the centre crops that are validated on, pixels. None: whole pictures.
      validation_limit: how many pictures are validated on, the first ones. None: all.
      seed: of order, crops, flips, noise and all other draws; 0 to 2³² − 1.
      workers: threads that prepare batches ahead of time; 0 prepares each when it is asked for.
        The batches do not depend on it.
      check: whether all training pictures are decoded once before the first step, which finds those
        that are bad.
      skip_bad: how many pictures or pairs may be bad, or missing when the run goes on; they are
        left out. Above 0 all are checked in any case.
      cache_bytes: decoded training pictures that each process keeps in memory, in bytes. The
        batches do not depend on it. None: a quarter of the machine's memory, which the processes
        of a machine share.

    Raises:
      UserError: a value out of its range, or photographs that are in both sets.
    """

    train: str = ""
    validation: str = ""
    sources: tuple[SourceConfig, ...] = ()
    degradation: str | None = None
    color: Color = "rgb"
    patch: int = 256
    batch: int = 16
    samples_per_picture: int = 1
    enlarge: float = 1.0
    symmetries: Symmetries = "dihedral"
    saturation: bool = False
    mixup_from_epoch: int = 0
    validation_crop: int | None = None
    validation_limit: int | None = None
    seed: int = 0
    workers: int = 1
    cache_bytes: int | None = None
    pairs: str | None = None
    check: bool = True
    skip_bad: int = 0

    def __post_init__(self):
        # In one order, however they were given: that of their names.
        sources = tuple(sorted(self.sources, key=lambda source: source.name))
        object.__setattr__(self, "sources", sources)
        if self.sources:
            self._check_sources()
        for name in ("train", "validation"):
            where = getattr(self, name)
            if not self.sources and (not isinstance(where, str) or not where):
                raise UserError(
                    f"{name} is {where!r}; it must be a folder, or {PHOTOGRAPHS_PREFIX} and names"
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"{name} is {value}; it must be a whole number, at least {least}")
        if self.seed >= 2**32:
            raise UserError(f"seed is {self.seed}; it must be below 2**32")
        if not isinstance(self.enlarge, float | int) or not 1 <= self.enlarge <= self.patch:
            raise UserError(f"enlarge is {self.enlarge}; it must be from 1 to patch, {self.patch}")
        for name in ("saturation", "check"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} is {getattr(self, name)}; it must be True or False")
        for name, kind in (("color", Color), ("symmetries", Symmetries)):
            if getattr(self, name) not in get_args(kind):
                choices = either(map(repr, get_args(kind)))
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {choices}")
        if self.color != "rgb" and self.saturation:
            raise UserError("saturation is True; luma has none")
        if self.color != "rgb" and (simulated := self.simulated) and simulated.of_colours:
            raise UserError(
                f"degradation is {self.degradation!r}, which degrades colours; color is"
                f" {self.color!r}"
            )
        _ = self.pattern
        if (simulated := self.simulated) and simulated.known and self.mixup_from_epoch:
            raise UserError(
                f"mixup_from_epoch is {self.mixup_from_epoch}; images that are measured by known"
                " operators are not mixed, so it must be 0"
            )
        train, validation = (photograph_names(w) or () for w in (self.train, self.validation))
        if both := sorted(set(train) & set(validation)):
            raise UserError(f"{', '.join(both)} stand in both train and validation")

    def _check_sources(self) -> None:
        names = [source.name for source in self.sources]
        if self.train or self.validation or self.degradation or self.pairs:
            raise UserError(
                f"data has the sources {', '.join(names)}; train, validation, degradation and pairs"
                " are theirs then"
            )
        if len(set(names)) < len(names):
            raise UserError(f"data has the sources {', '.join(names)}; each must have its own name")
        _ = self.each  # which checks what each of them sets

    @property
    def each(self) -> "tuple[tuple[str, DataConfig], ...]":
        """The name and the settings of each source; "" for the only one there is."""
        if not self.sources:
            return (("", self),)
        return tuple((source.name, self._of(source)) for source in self.sources)

    def _of(self, source: SourceConfig) -> "DataConfig":
        given = dataclasses.asdict(source)
        name = given.pop("name")
        del given["weight"]
        for default in ("patch", "validation_crop", "validation_limit"):
            if given[default] is None:
                del given[default]
        # So that sources do not draw the same.
        seed = (self.seed + zlib.crc32(name.encode())) % 2**32
        try:
            return dataclasses.replace(self, sources=(), seed=seed, **given)
        except UserError as error:
            raise UserError(f"source {name}: {error}") from error

    @property
    def in_bytes(self) -> bool:
        """Whether patches are parts of 8-bit pictures as they are, and need no floats."""
        changed = self.saturation or self.mixup_from_epoch or self.color != "rgb"
        return self.degradation is None and not changed

    @property
    def channels(self) -> int:
        """Of the patches."""
        return 3 if self.color == "rgb" else 1

    @property
    def simulated(self) -> "Degradation | None":
        """The degradation of clean pictures; None of pairs."""
        if self.degradation is None:
            return None
        from dgunet_jax.data.degradations import Degradation  # which imports JAX

        return Degradation.parse(self.degradation)

    @property
    def pattern(self) -> Pattern | None:
        """Of the names of pairs."""
        return None if self.pairs is None else Pattern.parse(self.pairs)


def photograph_names(where: str) -> tuple[str, ...] | None:
    """The names in "photographs:astronaut,rocket"; None of what does not begin like that."""
    if not where.startswith(PHOTOGRAPHS_PREFIX):
        return None
    return tuple(name.strip() for name in where.removeprefix(PHOTOGRAPHS_PREFIX).split(","))
