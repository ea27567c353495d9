"""The one description of a network: every released model and every ablation is a value of it."""

import dataclasses
import json
import math
from typing import Literal, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dgunet_jax.models.convolution import kernels_of
from dgunet_jax.operators.library import BLOCK
from dgunet_jax.system.errors import UserError, listed, one_line, printable

NUM_BASIS = 16  # maps that span the subspace of a merge


@dataclasses.dataclass(frozen=True)
class DGUNetConfig:
    """Sizes and choices of a deep unfolding network (Mou, Wang, Zhang, CVPR 2022).

    Attributes:
      channels: image channels; 3 for the colour models, 1 for compressive sensing.
      width: n, channels of the finest features.
      growth: s, channels added at each of the three coarser scales.
      last_growth: o, channels added in the last stage when it concatenates.
      num_stages: K, estimates the network makes; at least 2. The K − 2 middle stages share weights
        or not. With shared ones K may be changed after training.
      share_middle: one set of weights for all middle stages (DGUNet), or one each (DGUNet+).
      degradation: the operator pair of the gradient step v = x − ρ Φᵀ(Φ(x) − y): two learned
        networks; `tied`: Φ learned and Φᵀ the transposed Jacobian of Φ at x; `known`: a learned
        sampling matrix (see `measurements`) or the `operator` given to the network; `identity`:
        Φ(x) = x; `none`: no gradient step, v = x.
      measurements: rows of the learned sampling matrix for a block of 32×32 = 1024 pixels; 0: no
        matrix.
      ratio: of compressive sensing, in percent: sets `measurements` to ⌈10.24 · ratio⌉, and is
        None then; None: `measurements` stays.
      memory: how features of the previous stage enter the encoder: `adaptive` (scale and shift),
        `additive`, `none`.
      memory_scales: the scales where they do, 0 the finest.
      merge: how middle stages take up the attention features of the stage before: `subspace`
        projection, or `concat`.
      last_merge: the same for the last stage.
      attention: supervised attention, `residual` f + conv(f) or `gated` f + conv(f) ·
        sigmoid(conv(image)).
      last_adds: what the last stage adds its correction to: the network's `input` y or its own
        gradient step's `estimate`.
      own_attention_slopes: middle stages have a PReLU slope of their own in their channel
        attention; otherwise one slope serves all stages.
      blockwise: the network runs on every 32×32 block alone.
      noise_input: the noise's standard deviation enters the features of every stage as a constant
        channel beside the image; the network is then called with `noise`.
      start_steps: steps of conjugate gradients that make x₀ of a known operator's measurement; 0:
        x₀ is what the operator's `start` makes. Where the noise is told, they are damped
        (`operators.noise_damping`).
      implicit_steps: steps of conjugate gradients on the data in every stage of a known operator
        (`operators.implicit_gradient_step`) in place of one gradient step, which cannot undo a
        blur; 0: the gradient step. Where the noise is told, ρ is divided by `noise_damping` and not
        by ‖Φ‖².
      window: side in pixels of the square around each pixel over which instance normalisation and
        channel attention take their means, a multiple of 8; 0: the whole picture. A network that
        was trained on patches and restores larger pictures meets with windows of a patch's size
        what it met in training (Chu et al., ECCV 2022). Not kept in files.
      dtype: computation: "float32", "bfloat16" or "float64"; None takes the widest of parameters
        and images. Images, instance statistics and the subspace projection are never below float32.
      unroll: middle stages written out per iteration of the scan, 1 (rolled) to K − 2; True means
        all.
      remat: recompute each stage in the backward pass instead of keeping its features. Gradients
        can then neither be differentiated again nor be batched by `jax.vmap`.
      kernels: the form of the convolutions, see `convolution.kernels`; "auto": that of the platform
        JAX computes on, for others see `on`.

    Raises:
      UserError: a value that makes no network; the message names it and the rule.
    """

    channels: int = 3
    width: int = 40
    growth: int = 20
    last_growth: int = 16
    num_stages: int = 7
    share_middle: bool = True
    degradation: Literal["learned", "known", "tied", "identity", "none"] = "learned"
    measurements: int = 0
    ratio: float | None = None
    memory: Literal["adaptive", "additive", "none"] = "adaptive"
    memory_scales: tuple[int, ...] = (0, 1, 2)
    merge: Literal["subspace", "concat"] = "subspace"
    last_merge: Literal["subspace", "concat"] = "concat"
    attention: Literal["residual", "gated"] = "residual"
    last_adds: Literal["input", "estimate"] = "input"
    own_attention_slopes: bool = True
    blockwise: bool = False
    noise_input: bool = False
    start_steps: int = 0
    implicit_steps: int = 0
    window: int = 0
    dtype: str | None = None
    unroll: int | bool = 1
    remat: bool = False
    kernels: Literal["auto", "cpu", "gpu", "plain"] = "auto"

    def __post_init__(self):
        for name, hint in get_type_hints(type(self)).items():
            choices = [c for c in get_args(hint) if isinstance(c, str)]
            if choices and getattr(self, name) not in choices:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        if self.ratio is not None:
            if not 0 < self.ratio <= 100:
                raise UserError(
                    f"ratio is {self.ratio}; it must be above 0 and at most 100 percent"
                )
            object.__setattr__(self, "measurements", math.ceil(BLOCK**2 / 100 * self.ratio))
            object.__setattr__(self, "ratio", None)
        if self.dtype is not None:
            object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        scales = self.memory_scales
        if not isinstance(scales, list | tuple) or not set(scales) <= {0, 1, 2}:
            raise UserError(f"memory_scales is {scales}; the scales are 0, 1 and 2")
        object.__setattr__(self, "memory_scales", tuple(sorted(set(scales))))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and (name == "unroll" or not isinstance(value, bool))
            if not whole:
                raise UserError(f"{name} is {value!r}; it must be a whole number")
            if value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}")
            if value > (most := _MOST.get(name, value)):
                raise UserError(f"{name} is {value}; it must be at most {most}")
        if self.width % 2 or self.growth % 2:
            raise UserError(
                f"width {self.width} and growth {self.growth} must be even:"
                " half of an encoder's channels are normalised"
            )
        if self.window % 8:
            raise UserError(f"window is {self.window}; it must be a multiple of 8")
        if self.measurements and self.degradation != "known":
            raise UserError(
                f"measurements is {self.measurements}, but degradation is"
                f" {self.degradation!r}, not 'known'"
            )
        if self.measurements and self.last_adds == "input":
            raise UserError(
                "last_adds is 'input', but measurements are no image; set last_adds to 'estimate'"
            )
        if self.blockwise and not self.measurements:
            raise UserError(
                "blockwise is true without measurements; only sampled blocks stand alone"
            )
        for name in ("start_steps", "implicit_steps"):
            if getattr(self, name) and not self.takes_operator:
                raise UserError(
                    f"{name} is {getattr(self, name)}; only a known operator's measurement has such"
                )
        if self.noise_input and self.measurements:
            raise UserError("noise_input is true; a learned sampling matrix has no noise")
        if self.measurements and self.channels != 1:
            raise UserError(
                f"channels is {self.channels}; a sampling matrix measures images of 1 channel"
            )

    @property
    def takes_operator(self) -> bool:
        """Whether the network is given the operator that has measured what it restores."""
        return self.degradation == "known" and not self.measurements

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of it: 8 for three halvings, 32 for blocks."""
        return BLOCK if self.measurements else 8

    def on(self, platform: str) -> "DGUNetConfig":
        """Return the configuration for devices of a platform, such as "cpu", "gpu" or "tpu".

        It chooses the kernels where they are "auto", which a program that knows its devices need
        not leave open.
        """
        if self.kernels != "auto":
            return self
        return dataclasses.replace(self, kernels=kernels_of(platform))

    @property
    def num_middle(self) -> int:
        return self.num_stages - 2


_EXECUTION = ("unroll", "remat", "kernels")
_NOT_KEPT = (*_EXECUTION, "ratio", "window")  # fields that files do not hold
_LEAST = {
    "channels": 1,
    "width": 4,
    "growth": 0,
    "last_growth": 0,
    "num_stages": 2,
    "measurements": 0,
    "start_steps": 0,
    "implicit_steps": 0,
    "window": 0,
    "unroll": 1,
}


# Far beyond any use: what a file claims must not cost time or overflow before it is found wrong.
_MOST = {
    **dict.fromkeys(("channels", "width", "growth", "last_growth", "measurements"), 2**16),
    "num_stages": 100,
    "start_steps": 1000,
    "implicit_steps": 1000,
}


def _dtype_name(dtype) -> str:
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in ("float32", "bfloat16", "float64"):
        raise UserError(f"dtype is {name}; it must be float32, bfloat16 or float64")
    return name


def _plus(width: int, growth: int) -> DGUNetConfig:
    return DGUNetConfig(
        width=width,
        growth=growth,
        last_growth=0,
        share_middle=False,
        last_merge="subspace",
        own_attention_slopes=False,
    )


def _sensing(measurements: int, share_middle: bool) -> DGUNetConfig:
    return DGUNetConfig(
        channels=1,
        width=32,
        growth=16,
        last_growth=16,
        share_middle=share_middle,
        degradation="known",
        measurements=measurements,
        memory="additive",
        merge="concat",
        attention="gated",
        last_adds="estimate",
    )


VARIANTS: dict[str, DGUNetConfig] = {
    "deblur": DGUNetConfig(width=80, growth=48, last_growth=32),
    "deblur_plus": _plus(width=96, growth=48),
    "derain": DGUNetConfig(width=40, growth=20, last_growth=16),
    "derain_plus": _plus(width=40, growth=20),
    "denoise": DGUNetConfig(width=80, growth=48, last_growth=32),
    "denoise_plus": _plus(width=80, growth=40),
    "cs": _sensing(measurements=256, share_middle=True),
    "cs_plus": _sensing(measurements=256, share_middle=False),
}
"""The released models by name. The compressive-sensing ones sample 25 % and see the whole image;
other ratios and block by block are
`dataclasses.replace(VARIANTS["cs"], ratio=percent, blockwise=True)`."""


def variant(name: str) -> DGUNetConfig:
    """The configuration of a released model.

    Raises:
      UserError: no model has that name; the message lists those that exist.
    """
    if name not in VARIANTS:
        raise UserError(f"there is no variant {name!r}; the variants are {', '.join(VARIANTS)}")
    return VARIANTS[name]


def config_to_json(config: DGUNetConfig) -> str:
    """Return what a network is as JSON, without how it is executed."""
    values = dataclasses.asdict(config)
    return json.dumps({name: value for name, value in values.items() if name not in _NOT_KEPT})


def config_from_json(text: str) -> DGUNetConfig:
    """Return the configuration that `config_to_json` wrote.

    How a network is executed is not for a file to say: `unroll` and `remat` are not read.

    Raises:
      UserError: an entry is unknown, or has a value that it cannot have.
    """
    try:
        values = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"its configuration cannot be read: {one_line(error)[:200]}") from error
    if not isinstance(values, dict):
        raise UserError(f"its configuration is not a JSON object but a {type(values).__name__}")
    values = {name: value for name, value in values.items() if name not in _NOT_KEPT}
    fields = {field.name: field for field in dataclasses.fields(DGUNetConfig)}
    if unknown := sorted(values.keys() - fields.keys()):
        raise UserError(
            "its configuration has entries that this version does not know:"
            f" {listed([printable(name)[:100] for name in unknown], 5)}"
        )
    for name, value in values.items():
        default = fields[name].default
        if name == "memory_scales":
            right = isinstance(value, list) and all(type(scale) is int for scale in value)
        elif name == "dtype":
            right = value is None or isinstance(value, str)
        else:
            right = type(value) is type(default)
        if not right:
            group = isinstance(value, list | dict)
            shown = type(value).__name__ if group else printable(value)[:100]
            raise UserError(f"its configuration has a wrong {name}: {shown}")
    if "memory_scales" in values:
        values["memory_scales"] = tuple(values["memory_scales"])
    return DGUNetConfig(**values)


def told_otherwise(stated: int, num_stages: int) -> str:
    """Return the note that a network is read with another number of stages than it was saved."""
    return f"was saved with {stated} stages; it is read with {num_stages}"


def check_images(config: DGUNetConfig, shape: tuple[int, ...], dtype) -> None:
    """Raises a UserError unless images of `shape` and `dtype` can go into the network."""
    if len(shape) != 4 or shape[-1] != config.channels:
        raise UserError(
            f"images have shape {tuple(shape)}; it must be (N, H, W, {config.channels})"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(f"images are {dtype}; they must be floating point in [0, 1]")
    multiple, (height, width) = config.multiple, shape[1:3]
    if height % multiple or width % multiple or not height * width:
        fits = [max(multiple, -(-side // multiple) * multiple) for side in (height, width)]
        raise UserError(
            f"size {height}×{width} is not a multiple of {multiple}; pad to {fits[0]}×{fits[1]}"
        )


def check_sizes(config: DGUNetConfig, shape: tuple[int, ...], sizes: jax.Array | None) -> None:
    """Raises a UserError unless `sizes` fit; values that are being traced cannot be checked."""
    if sizes is None:
        return
    if np.shape(sizes) != (shape[0], 2):
        raise UserError(f"sizes have shape {np.shape(sizes)}; it must be ({shape[0]}, 2)")
    if isinstance(sizes, Tracer):
        return
    for height, width in np.asarray(sizes):
        if height % config.multiple or width % config.multiple or min(height, width) < 1:
            raise UserError(
                f"size {height}×{width} in sizes is not a positive multiple of {config.multiple}"
            )
        if height > shape[1] or width > shape[2]:
            raise UserError(
                f"size {height}×{width} in sizes exceeds the array's {shape[1]}×{shape[2]}"
            )
