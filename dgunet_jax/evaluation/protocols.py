"""The protocols by which published numbers were made, one entry for each data set, as plain data.

Nothing heavy is imported here, because the command line lists the names.
"""

import dataclasses
import math
from typing import Literal

from dgunet_jax.system.errors import UserError, either

# What is compared, and how, see `scores.compare`.
Measure = Literal["rgb", "rgb_volume", "luma", "aligned", "grey", "server"]
Layout = Literal["pairs", "sequences", "hide", "listed", "clean", "sidd", "dnd"]

IN_BYTES_MULTIPLE = 16  # of sides of images whose noise is added in 8 bits

MEASURES: dict[Measure, str] = {
    "rgb": "RGB PSNR, SSIM of the channels (7×7 uniform window)",
    "rgb_volume": "RGB PSNR, SSIM of the volume (MATLAB's of RGB arrays)",
    "luma": "PSNR and SSIM (Wang) of MATLAB's luma",
    "aligned": "RGB PSNR and SSIM after alignment (ECC)",
    "grey": "PSNR and SSIM (7×7 uniform window) of full-range luma",
    "server": "scored by the benchmark's server, which gets what is in bundled/",
}
_WINDOWS: dict[Measure, int] = {"rgb": 7, "luma": 11, "aligned": 11, "grey": 7}


@dataclasses.dataclass(frozen=True)
class Published:
    """What a paper states: PSNR in dB and SSIM, means over the data set."""

    model: str
    psnr: float
    ssim: float | None
    source: str


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How images become a number.

    Attributes:
      name: on the command line.
      title: of the data set.
      measure: key of `MEASURES`: the metrics and the colours they are computed of; "server": none
        here, the targets are not published.
      rounded: whether the scores are those of the image rounded to 8 bits; else of the image
        clamped to [0, 1], which "luma" and "aligned" are not defined on.
      padding: the network's images are padded to multiples of this, in pixels: by reflection, for
        compressive sensing by zeros.
      tile: side of the tiles that images are restored in, each by itself, in pixels; they are
        padded by zeros to its next multiple, by all of it where they have one already. None: whole.
      self_ensemble: whether the published numbers are means over the eight flips and rotations.
      sigma: standard deviation, on the [0, 255] scale, of the noise added to clean images; None:
        the data set has degraded images, or the network samples the clean ones.
      in_bytes: whether that noise is added as one comparison of five degradations does: images are
        cut in the middle to multiples of `IN_BYTES_MULTIPLE`, and the noisy ones clipped and cut
        off to 8 bits; else they are not clipped.
      degradation: what is simulated on clean images, as `data.degradation` of training has it;
        None: nothing of that kind.
      ratio: measurements in percent of the pixels, for compressive sensing; else None.
      layout: how the data set lies in its folder, see `datasets.find`.
      list_file: name of the list of its test images, for the layout "listed".
      count: its images; None: any number.
      published: DGUNet's and DGUNet+'s numbers.
      note: what else must be known to compare.
    """

    name: str
    title: str
    measure: Measure
    rounded: bool = True
    padding: int = 8
    tile: int | None = None
    self_ensemble: bool = False
    sigma: float | None = None
    in_bytes: bool = False
    degradation: str | None = None
    ratio: int | None = None
    layout: Layout = "pairs"
    list_file: str | None = None
    count: int | None = None
    published: tuple[Published, ...] = ()
    note: str = ""

    @property
    def channels(self) -> int:
        """Channels of the images that are scored."""
        return 3 if self.ratio is None else 1

    @property
    def measurements(self) -> int:
        """Measurements of each block of 32×32 pixels; 0 if the images are not sampled."""
        return 0 if self.ratio is None else math.ceil(10.24 * self.ratio)

    @property
    def is_known(self) -> bool:
        """Whether the network is told what degraded the images."""
        if self.degradation is None:
            return False
        from dgunet_jax.data.degradations import Degradation  # which imports JAX

        return Degradation.parse(self.degradation).known

    @property
    def has_targets(self) -> bool:
        """Whether images can be scored here."""
        return self.measure != "server"

    @property
    def window(self) -> int:
        """Side of the measure's window in pixels, which images must not fall below."""
        return _WINDOWS.get(self.measure, 1)

    def describe(self) -> str:
        """Return metrics, rounding, padding, noise, measurements and self-ensemble in one line."""
        words = [MEASURES[self.measure], "8 bits" if self.rounded else "clamped, not rounded"]
        filled = "reflection" if self.ratio is None else "zeros"
        if self.tile is None:
            words += [f"whole, padded to multiples of {self.padding} by {filled}"]
        else:
            words += [
                f"padded by zeros, restored in tiles of {self.tile}×{self.tile} by themselves"
            ]
        if self.ratio is not None:
            words += [f"{self.measurements} measurements of each 32×32 block ({self.ratio} %)"]
        clipped = "clipped and cut off to 8 bits" if self.in_bytes else "not clipped"
        words += [] if self.sigma is None else [f"noise of σ = {self.sigma:g}, {clipped}"]
        words += [] if self.degradation is None else [f"degraded by {self.degradation}"]
        words += ["published with ×8 self-ensemble"] if self.self_ensemble else []
        words += [self.note] if self.note else []
        return "; ".join(words)


@dataclasses.dataclass(frozen=True)
class Suite:
    """Data sets whose means a paper averages.

    Attributes:
      members: the folder of each below the suite's, and the name of its protocol.
      published: averages over them.
    """

    name: str
    title: str
    members: tuple[tuple[str, str], ...]
    published: tuple[Published, ...] = ()


_PAPER = "Mou et al., CVPR 2022"
_REALBLUR = "weights of the paper, run by EnsIR"
_IDR = "one model for five degradations; IDR, relayed by InstructIR, AdaIR and VLU-Net"

Numbers = tuple[float, float | None]


def _paper(plain: Numbers, plus: Numbers, source: str = _PAPER) -> tuple[Published, ...]:
    return Published("DGUNet", *plain, source), Published("DGUNet+", *plus, source)


def _one(psnr: float, ssim: float | None = None) -> tuple[Published, ...]:
    return (Published("DGUNet", psnr, ssim, _IDR),)


_GAUSSIAN = {
    ("cbsd68", "CBSD68", 68): {15: (33.85, None), 25: (31.10, 0.883), 50: (27.92, None)},
    ("kodak24", "Kodak24", 24): {15: (34.56, None), 25: (32.10, None), 50: (28.91, None)},
    ("urban100", "Urban100", 100): {15: (33.67, None), 25: (31.27, None), 50: (27.94, None)},
}

_RATIOS = (1, 4, 10, 25, 30, 40, 50)
_SENSING = {
    ("set14", "Set14", 14): {},
    ("set11", "Set11", 11): {
        1: ((22.09, 0.6096), (22.15, 0.6114)),
        4: ((26.84, 0.8249), (26.83, 0.8230)),
        10: ((31.07, 0.9123), (30.93, 0.9088)),
        25: ((36.11, 0.9611), (36.18, 0.9616)),
        50: ((41.22, 0.9836), (41.24, 0.9837)),
    },
    ("bsd68", "BSD68", 68): {
        1: ((22.65, 0.5396), (22.70, 0.5406)),
        4: ((25.55, 0.7008), (25.45, 0.6987)),
        10: ((28.26, 0.8193), (28.14, 0.8165)),
        25: ((31.90, 0.9155), (31.98, 0.9158)),
        50: ((37.01, 0.9714), (37.04, 0.9718)),
    },
}

_ALL = (
    Protocol("gopro", "GoPro test", "rgb_volume", layout="sequences", count=1111,
             published=_paper((32.71, 0.960), (33.17, 0.963))),
    Protocol("hide", "HIDE test", "rgb_volume", layout="hide", count=2025,
             published=_paper((30.96, 0.940), (31.40, 0.944))),
    Protocol("realblur_j", "RealBlur-J test", "aligned", layout="listed",
             list_file="RealBlur_J_test_list.txt", count=980,
             published=(Published("DGUNet+", 26.583, 0.8261, _REALBLUR),)),
    Protocol("realblur_r", "RealBlur-R test", "aligned", layout="listed",
             list_file="RealBlur_R_test_list.txt", count=980,
             published=(Published("DGUNet+", 33.990, 0.9430, _REALBLUR),)),
    Protocol("rain100l", "Rain100L", "luma", count=100,
             published=_paper((37.42, 0.969), (38.25, 0.974))),
    Protocol("rain100h", "Rain100H", "luma", count=100,
             published=_paper((30.66, 0.891), (31.06, 0.897))),
    Protocol("test100", "Test100", "luma", count=98,
             published=_paper((30.32, 0.899), (30.86, 0.907))),
    Protocol("test1200", "Test1200", "luma", count=1200,
             published=_paper((33.23, 0.920), (33.08, 0.916))),
    Protocol("test2800", "Test2800", "luma", count=2800,
             published=_paper((33.68, 0.938), (34.01, 0.942))),
    Protocol("sidd", "SIDD validation", "rgb_volume", rounded=False, self_ensemble=True,
             layout="sidd", count=1280, published=_paper((39.88, 0.959), (39.91, 0.960))),
    Protocol("dnd", "DND", "server", rounded=False, self_ensemble=True, layout="dnd", count=1000,
             published=_paper((40.04, 0.956), (40.12, 0.957))),
    *(
        Protocol(f"{name}_{sigma}{ending}", f"{title}, σ = {sigma}{how}", "rgb", rounded=False,
                 sigma=sigma, in_bytes=bool(ending), layout="clean", count=count,
                 published=published)
        for (name, title, count), rows in _GAUSSIAN.items()
        for sigma, numbers in rows.items()
        # The published numbers belong to noisy pictures of 8 bits.
        for ending, how, published in (("", "", ()), ("_8bit", ", 8 bits", _one(*numbers)))
    ),
    *(
        Protocol(f"{name}_{ratio}{ending}", f"{title}, {ratio} % measured{how}", "grey",
                 rounded=False, padding=32, tile=tile, ratio=ratio, layout="clean", count=count,
                 published=published)
        for (name, title, count), rows in _SENSING.items()
        for ratio in _RATIOS
        for published in [_paper(*rows[ratio]) if ratio in rows else ()]
        # The published numbers belong to the tiles of the released code.
        for ending, how, tile, published in (
            ("", ", tiles", 128, published), ("_whole", ", whole", None, ())
        )
    ),
    Protocol("sots", "SOTS outdoor", "rgb", rounded=False, count=500,
             published=_one(24.78, 0.940)),
    Protocol("lol", "LOL test", "rgb", rounded=False, count=15, published=_one(21.87, 0.823)),
    Protocol("five_rain100l", "Rain100L, in RGB", "rgb", rounded=False, count=100,
             published=_one(36.62, 0.971)),
    Protocol("five_gopro", "GoPro test, in RGB", "rgb", rounded=False, layout="sequences",
             count=1111, published=_one(27.25, 0.837)),
    Protocol("rgb", "pairs of pictures, in RGB", "rgb", layout="sequences"),
    Protocol("luma", "pairs of pictures, in luma", "luma", layout="sequences"),
)  # fmt: skip

PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
GENERIC = ("rgb", "luma")  # for pairs that are of no published data set
DATASETS = tuple(name for name in PROTOCOLS if name not in GENERIC)

_SUITES = (
    Suite(
        "derain", "the five deraining sets",
        (("Test100", "test100"), ("Rain100H", "rain100h"), ("Rain100L", "rain100l"),
         ("Test2800", "test2800"), ("Test1200", "test1200")),
        _paper((33.06, 0.923), (33.46, 0.927)),
    ),
    Suite(
        "five", "five degradations, one model",
        (("SOTS", "sots"), ("Rain100L", "five_rain100l"), ("CBSD68", "cbsd68_25_8bit"),
         ("GoPro", "five_gopro"), ("LOL", "lol")),
        _one(28.32, 0.891),
    ),
)  # fmt: skip
SUITES = {suite.name: suite for suite in _SUITES}


def simulated(degradation: str) -> Protocol:
    """Return the protocol of clean pictures that are degraded here.

    Args:
      degradation: as `Protocol` has it.
    """
    return Protocol(
        f"degradation {degradation}",
        "clean pictures",
        "rgb",
        rounded=False,
        layout="clean",
        degradation=degradation,
    )


def protocols(name: str) -> list[tuple[str, Protocol]]:
    """Return the protocols of a data set or suite, with the folder of each ("" for one alone).

    Raises:
      UserError: the name is not known; the message lists those that are.
    """
    if name in SUITES:
        return [(folder, PROTOCOLS[member]) for folder, member in SUITES[name].members]
    if name not in PROTOCOLS:
        raise UserError(f"unknown data set {name!r}; it must be {either([*DATASETS, *SUITES])}")
    return [("", PROTOCOLS[name])]
