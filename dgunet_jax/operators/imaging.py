"""Inpainting, blur, super-resolution and colour mosaics."""

import math
from typing import Any, ClassVar, Literal, get_args

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from dgunet_jax.operators.arrays import concrete, leaf
from dgunet_jax.operators.linear import KnownOperator
from dgunet_jax.system.errors import UserError, either

Array = jax.Array

Border = Literal["zero", "circular", "reflect", "valid"]
Pattern = Literal["RGGB", "BGGR", "GRBG", "GBRG"]

_PAD: dict[str, Any] = {
    "zero": "constant",
    "valid": "constant",  # what depends on it is cut off
    "circular": "wrap",
    "reflect": "symmetric",
}


@flax.struct.dataclass
class Mask(KnownOperator):
    """Φx = m · x, inpainting: every value is kept, lost or dimmed. ‖Φ‖² = max m².

    The mask has the images' size, so that it does not commute with extending them by zeros.

    Attributes:
      mask: m, values in [0, 1]: (H, W) or (H, W, C) for all images, (N, H, W, C) for each, where C
        may be 1.

    Raises:
      UserError: another number of axes, or values outside [0, 1].
    """

    mask: Any

    pointwise: ClassVar[bool] = True

    def _check(self) -> None:
        shape = "(H, W), (H, W, C) or (N, H, W, C)"
        self._set(mask=fractions("mask", self.mask, (2, 3, 4), shape))

    def forward(self, x: Array) -> Array:
        mask = self.mask[..., None] if self.mask.ndim == 2 else self.mask
        channels = mask.shape[-1]
        self._images(x, mask.shape[-3:-1], channels if channels > 1 else None)
        return x * self._batched(mask, 3, x)

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        return self.forward(r)

    def squared_norm(self) -> Array:
        squared = jnp.square(self.mask)
        return squared.max((1, 2, 3), keepdims=True) if squared.ndim == 4 else squared.max()


@flax.struct.dataclass
class Blur(KnownOperator):
    """Φx = k * x, a convolution of every channel.

    (Φx)(i) = Σₐ k(a) x(i − a + ⌊h/2⌋), likewise in the columns: the kernel is turned, and its
    centre is at ⌊h/2⌋, ⌊w/2⌋, as in `scipy.ndimage.convolve`. It is computed by FFTs of the padded
    image, so that its time does not depend on the size of the kernel.

    ‖Φ‖² is not above the smaller one of two bounds, both without a loop:

    * max |k̂|² over all frequencies, from samples, from above and within 2 %. For a zero border it
      is approached by large images; for a circular one it is attained by those whose frequencies
      come close to the maximum. For a reflecting one the parts of the kernel that are even or odd
      in rows and columns count one by one, so that it is as close for a kernel that equals its
      mirror images, and less so for others.
    * ‖Φ‖₁ ‖Φ‖∞, the largest sums of |Φ| over columns and rows. Without a reflecting border it is
      (Σ|k|)², which for a kernel without negative values is the maximum above.

    Attributes:
      kernel: k, (h, w) for all images or (N, h, w) for each.
      border: what is beyond the image: "zero"; "circular", the opposite side; or "reflect", the
        image mirrored at its edge (d c b a | a b c d | d c b a), as in `scipy.ndimage`. With
        "valid" only those values are measured that need nothing beyond it, h − 1 rows and w − 1
        columns fewer, as in a photograph, where what lies beside the frame is blurred into it.
        But for the zero border the image must have the size of the kernel at least. Only the zero
        border commutes with extending images by zeros.

    Raises:
      UserError: another number of axes, values that are not finite, or another border.
    """

    kernel: Any
    border: Border = flax.struct.field(pytree_node=False, default="zero")

    def _check(self) -> None:
        _check_choice("border", self.border, Border)
        self._set(kernel=leaf("kernel", self.kernel, (2, 3), "(h, w) or (N, h, w)"))

    @property
    def zero_extends(self) -> bool:
        return self.border == "zero"

    def forward(self, x: Array) -> Array:
        self._images(x)
        wide = _convolve(self._name, x, self._batched(self.kernel, 2, x), self.border)
        if self.border != "valid":
            return wide
        (h, w), (height, width) = self.kernel.shape[-2:], x.shape[1:3]
        top, left = h - 1 - h // 2, w - 1 - w // 2
        return wide[:, top : top + height - h + 1, left : left + width - w + 1]

    def squared_norm(self) -> Array:
        return _convolution_norm(self.kernel, self.border, 1, 0)

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, height, width, channels = y.shape
        if self.border != "valid":
            return n, height, width, channels
        h, w = self.kernel.shape[-2:]
        return n, height + h - 1, width + w - 1, channels


@flax.struct.dataclass
class Downsample(KnownOperator):
    """Every f-th pixel of a blurred image, in both directions: (N, H, W, C) to (N, H/f, W/f, C).

    ‖Φ‖² of "area" is 1/f². Otherwise it is bounded as for `Blur`, with the frequencies that
    coincide after sampling added: max over ω of Σₘ |k̂((ω + 2πm)/f)|² / f².

    Attributes:
      factor: f, at least 1; sides of images are multiples of it.
      kernel: "area", the mean of f×f blocks; "bicubic", Keys' cubic (a = −½), f times as wide, as
        MATLAB's `imresize` has it with a factor 1/f; or k, (h, w) or (N, h, w), as for `Blur`.
      border: of the convolution, as for `Blur`; "area" needs none.
      offset: o, the first row and column that are taken, in 0 … f − 1: (Φx)(i) = (k * x)(f i + o).
        None: ⌊(f − 1)/2⌋, with which a symmetric kernel of odd side for odd f, and of even side
        for even f, is in the middle of each block. Of published kernels many are used with 0.

    Raises:
      UserError: as for `Blur`, or a factor or offset out of range.

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 1981.
    """

    factor: int = flax.struct.field(pytree_node=False)
    kernel: Any = "area"
    border: Border = flax.struct.field(pytree_node=False, default="reflect")
    offset: int | None = flax.struct.field(pytree_node=False, default=None)
    # A text cannot be a leaf of a pytree; where `kernel` is one, it goes here and leaves None.
    method: str = flax.struct.field(pytree_node=False, default="", kw_only=True, repr=False)

    def _check(self) -> None:
        if int(self.factor) != self.factor or self.factor < 1:
            raise UserError(f"factor is {self.factor}; it must be a whole number, at least 1")
        _check_choice("border", self.border, Border)
        if self.border == "valid":
            raise UserError("border is 'valid'; Downsample has 'zero', 'circular' or 'reflect'")
        factor = int(self.factor)
        middle = (factor - 1) // 2
        offset = middle if self.offset is None else self.offset
        if not 0 <= offset < factor:
            raise UserError(
                f"offset is {offset}; with a factor of {factor} it must be 0 to {factor - 1}"
            )
        if not isinstance(self.kernel, str):
            kernel = leaf("kernel", self.kernel, (2, 3), "(h, w) or (N, h, w)")
            self._set(factor=factor, offset=offset, kernel=kernel)
            return
        if self.kernel not in ("area", "bicubic"):
            raise UserError(f"kernel is {self.kernel!r}; it must be 'area', 'bicubic' or an array")
        if offset != middle:
            raise UserError(f"offset is {offset}; {self.kernel!r} has {middle}")
        self._set(factor=factor, offset=offset, kernel=None, method=self.kernel)

    @property
    def size_multiple(self) -> int:
        return self.factor

    def forward(self, x: Array) -> Array:
        self._images(x)
        f = self.factor
        if self.method == "area":
            n, height, width, channels = x.shape
            return x.reshape(n, height // f, f, width // f, f, channels).mean((2, 4))
        wide = _convolve(self._name, x, self._batched(self._kernel, 2, x), self.border)
        return wide[:, self.offset :: f, self.offset :: f]

    def squared_norm(self) -> Array | float:
        if self.method == "area":
            return 1 / self.factor**2
        return _convolution_norm(self._kernel, self.border, self.factor, self.offset or 0)

    @property
    def _kernel(self) -> Array:
        return _bicubic(self.factor) if self.method == "bicubic" else self.kernel

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, height, width, channels = y.shape
        return n, height * self.factor, width * self.factor, channels


@flax.struct.dataclass
class Bayer(KnownOperator):
    """A colour mosaic: of every pixel one of the three colours, (N, H, W, 3) to (N, H, W, 1).

    ‖Φ‖ = 1. It commutes with extending images by zeros.

    Attributes:
      pattern: colours of the top left 2×2 pixels, row by row: "RGGB", "BGGR", "GRBG" or "GBRG".
    """

    pattern: Pattern = flax.struct.field(pytree_node=False, default="RGGB")

    zero_extends: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True

    def _check(self) -> None:
        _check_choice("pattern", self.pattern, Pattern)

    def forward(self, x: Array) -> Array:
        self._images(x, channels=3)
        return (x * self._chosen(x)).sum(-1, keepdims=True)

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        return r * self._chosen(r)

    def squared_norm(self) -> float:
        return 1.0

    def _chosen(self, like: Array) -> Array:
        """(1, H, W, 3): 1 where a colour is taken and 0 elsewhere."""
        height, width = like.shape[1:3]
        tile = np.eye(3)[["RGB".index(colour) for colour in self.pattern]].reshape(2, 2, 3)
        tiled = np.tile(tile, (-(-height // 2), -(-width // 2), 1))[None, :height, :width]
        return jnp.asarray(tiled, like.dtype)

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        n, height, width, _ = y.shape
        return n, height, width, 3


def _convolve(name: str, x: Array, kernel: Array, border: str) -> Array:
    """k * x of (N, H, W, C) and (N or 1, h, w), as `Blur` defines it."""
    size, sides = x.shape[1:3], kernel.shape[1:]
    if border != "zero" and any(k > side for k, side in zip(sides, size, strict=True)):
        raise UserError(
            f"{name} with a {border} border needs images of the size of its kernel,"
            f" {sides[0]}×{sides[1]}, at least; got {size[0]}×{size[1]}"
        )
    kind = jnp.promote_types(x.dtype, jnp.float32)  # there is no narrower FFT
    reach = [(k - 1 - k // 2, k // 2) for k in sides]
    padded = jnp.pad(x.astype(kind), ((0, 0), *reach, (0, 0)), mode=_PAD[border])
    # Of sizes with small prime factors, which FFTs are fast for; what is added is cut off again.
    fast: Any = [scipy.fft.next_fast_len(side, real=True) for side in padded.shape[1:3]]
    response = jnp.fft.rfft2(kernel.astype(kind), fast)[..., None]
    whole = jnp.fft.irfft2(jnp.fft.rfft2(padded, fast, axes=(1, 2)) * response, fast, axes=(1, 2))
    (h, w), (height, width) = sides, size
    return whole[:, h - 1 : h - 1 + height, w - 1 : w - 1 + width].astype(x.dtype)


def _convolution_norm(kernel: Any, border: str, factor: int, offset: int) -> Array:
    """The bound on ‖Φ‖² of every f-th value of a convolution: see `Blur` and `Downsample`."""
    kernel = jnp.asarray(kernel)
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    many = kernel if kernel.ndim == 3 else kernel[None]
    if border == "reflect":
        # An image and its reflections are one period of an even image. Of it the even part of a
        # kernel makes an even image, the odd part an odd one: a quarter of it has a quarter of the
        # energy, so that the norm is that of the circular convolution.
        even = _centred(many, factor, offset)
        mirrored = even[:, ::-1], even[:, :, ::-1], even[:, ::-1, ::-1]
        spectral = jnp.zeros(len(many), many.dtype)
        for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            part = (even + s * mirrored[0] + t * mirrored[1] + s * t * mirrored[2]) / 4
            spectral += jnp.sqrt(_peak(part, factor))
        spectral = jnp.square(spectral)
    else:
        spectral = _peak(many, factor)
    bound = jnp.minimum(spectral, _largest_sums(jnp.abs(many), border, factor, offset))
    return bound.reshape(-1, 1, 1, 1) if kernel.ndim == 3 else bound[0]


_SAMPLES = 24  # of a frequency's response for each degree: from above within 1/cos²(π/24) = 1.7 %


def _peak(kernel: Array, factor: int) -> Array:
    """A bound on max over ω of Σₘ |k̂((ω + 2πm)/f)|² / f², (N,).

    What is maximised is a trigonometric polynomial of degree d = ⌊(h − 1)/f⌋, which is at most
    1/cos(πd/n) times its largest one of n equidistant values in each direction.

    Source: Ehlich and Zeller, Schwankung von Polynomen zwischen Gitterpunkten, 1964.
    """
    degrees = [(side - 1) // factor for side in kernel.shape[1:]]
    rows, columns = (max(1, _SAMPLES * degree) for degree in degrees)
    power = jnp.square(jnp.abs(jnp.fft.fft2(kernel, (factor * rows, factor * columns))))
    folded = power.reshape(-1, factor, rows, factor, columns).sum((1, 3)) / factor**2
    margin = math.prod(1 / math.cos(math.pi / _SAMPLES) for degree in degrees if degree)
    return margin * folded.max((1, 2))


def _largest_sums(magnitude: Array, border: str, factor: int, offset: int) -> Array:
    """‖Φ‖₁ ‖Φ‖∞, (N,), from |k|; a bound on ‖Φ‖² (Schur)."""
    n, *sides = magnitude.shape
    if border == "reflect":
        # Wide enough for columns that a border reaches and for those that none does.
        size = [factor * -(-(2 * side + factor) // factor) for side in sides]
        image = jax.ShapeDtypeStruct((n, *size, 1), magnitude.dtype)

        def sampled(x: Array) -> Array:
            wide = _convolve("Blur", x, magnitude, border)
            return wide[:, offset::factor, offset::factor]

        ones = jnp.ones((n, *(side // factor for side in size), 1), magnitude.dtype)
        (columns,) = jax.linear_transpose(sampled, image)(ones)
        columns = columns.max((1, 2, 3))
    else:
        wide = jnp.pad(magnitude, ((0, 0), *((0, -side % factor) for side in sides)))
        _, height, width = wide.shape
        phases = wide.reshape(n, height // factor, factor, width // factor, factor)
        columns = phases.sum((1, 3)).max((1, 2))
    return magnitude.sum((1, 2)) * columns


def _centred(kernel: Array, factor: int, offset: int) -> Array:
    """The kernel with zeros put beside it, so that it is in the middle of each block."""
    padding = []
    for side in kernel.shape[1:]:
        # From a block's first pixel it reaches from offset + ⌊h/2⌋ − h + 1 to offset + ⌊h/2⌋.
        excess = 2 * (offset + side // 2) - side + 1 - (factor - 1)
        padding.append((max(0, -excess), max(0, excess)))
    return jnp.pad(kernel, ((0, 0), *padding))


def _bicubic(factor: int) -> Array:
    """Keys' cubic for 1/f, (h, h): h is 4f for even f, and 4f − 1 for odd f."""
    side = 4 * factor - factor % 2
    t = np.abs(np.arange(side) - (side - 1) / 2) / factor
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    weights /= weights.sum()
    return jnp.asarray(np.outer(weights, weights))


def fractions(name: str, value: Any, ranks: tuple[int, ...], shape: str) -> Array:
    """A field's values, which must be in [0, 1]."""
    array, known = leaf(name, value, ranks, shape), concrete(value)
    if known is not None and (known.min() < 0 or known.max() > 1):
        raise UserError(
            f"{name} has values from {known.min():.4g} to {known.max():.4g}; they must be in [0, 1]"
        )
    return array


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise UserError(f"{name} is {value!r}; it must be {either(map(repr, get_args(choices)))}")
