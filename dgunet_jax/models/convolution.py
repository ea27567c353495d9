"""Convolutions whose gradients are fast inside a loop.

XLA's CPU backend rewrites the gradients of a convolution into the layout of its fast kernel, but
not inside the body of a `lax.scan`. The layouts of the tangents are therefore declared such that
the transposes JAX derives from them have that layout from the start (docs/decisions.md).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

_BLOCK = 64  # output channels
_MOST = 15  # zeros worth adding to them
_MOST_IN_GRADIENT = 24  # and to those of a kernel's gradient
_THIN = 3  # channels up to which a convolution is a matrix product of shifted copies


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Cross-correlation of `x` (N, H, W, I) with `kernel` (h, w, I, O), zero padded by (h − 1) //
    2.

    The size stays with an odd kernel and stride 1, and is halved by a 4×4 kernel with stride 2.
    """
    h, _, i, o = kernel.shape
    if h == 1:
        return _matrix_product(x, kernel[0, 0])
    if stride == 1 and i <= _THIN:
        return _few_inputs(x, kernel)
    if stride == 1 and o <= _THIN:
        return _few_outputs(x, kernel)
    return _general(x, kernel, stride)


def upsample(x: Array, kernel: Array) -> Array:
    """Transposed 2×2 convolution of stride 2: out[2h + a, 2w + b] = x[h, w] · kernel[a, b].

    Windows that do not overlap make it one matrix product and a reordering. `kernel` (2, 2, I, O).
    """
    n, height, width, _ = x.shape
    a, b, _, o = kernel.shape
    blocks = jnp.einsum("nhwi,abio->nhawbo", x, kernel)
    return blocks.reshape(n, height * a, width * b, o)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _general(x: Array, kernel: Array, stride: int) -> Array:
    outputs = kernel.shape[3]
    return _declared(x, _filled(kernel, 3), stride, ("NHWC", "HWIO", "NHWC"))[..., :outputs]


@_general.defjvp
def _general_jvp(stride, primals, tangents):
    x, kernel = primals
    dx, dkernel = tangents

    # Checkpointed, so that a transposed copy of the input is not kept for the backward pass.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def from_input(dx, kernel):
        # Its transpose has the inputs as outputs, so those are the channels to fill up.
        dx, kernel = _filled(dx, 3), _filled(kernel, 2).swapaxes(2, 3)
        return _declared(dx, kernel, stride, ("NHWC", "HWOI", "NHWC"))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def from_kernel(x, dkernel):
        outputs = dkernel.shape[3]
        x = x.transpose(3, 1, 2, 0)
        dkernel = _filled(dkernel.transpose(2, 0, 1, 3), 3, most=_MOST_IN_GRADIENT)
        turned = _declared(x, dkernel, stride, ("CHWN", "IHWO", "HWNC"))
        return turned.transpose(2, 0, 1, 3)[..., :outputs]

    return _general(x, kernel, stride), from_input(dx, kernel) + from_kernel(x, dkernel)


def _filled(a, axis, most=_MOST):
    """`a` with zeros up to the next full block of channels, if no more than `most` are missing."""
    missing = missing_channels(a.shape[axis], most)
    if not missing:
        return a
    return jnp.pad(a, [(0, missing if i == axis else 0) for i in range(a.ndim)])


def missing_channels(channels: int, most: int) -> int:
    """Output channels of zeros that make a convolution faster than it is without them.

    XLA's CPU kernel takes blocks of 64 and is slow at the last, incomplete one: 60 channels take
    longer than 64, and a kernel's gradient with 40 channels longer than with 64.
    """
    missing = -channels % _BLOCK
    return missing if missing <= most else 0


def _declared(x, kernel, stride, layouts):
    border = (kernel.shape[layouts[1].index("H")] - 1) // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((border, border),) * 2, dimension_numbers=layouts
    )


def _matrix_product(x, matrix):
    return lax.dot_general(x, matrix, (((3,), (0,)), ((), ())))


def _few_inputs(x, kernel):
    """Shifted copies side by side, then one matrix product."""
    h, w, i, o = kernel.shape
    copies = [copy for _, copy in _shifted(x, h, w)]
    return _matrix_product(jnp.concatenate(copies, -1), kernel.reshape(h * w * i, o))


def _few_outputs(x, kernel):
    """One matrix product, then the results of every tap shifted and added up."""
    h, w, i, o = kernel.shape
    taps = _matrix_product(x, kernel.transpose(2, 0, 1, 3).reshape(i, h * w * o))
    return functools.reduce(
        jnp.add, (copy[..., tap * o : (tap + 1) * o] for tap, copy in _shifted(taps, h, w))
    )


def _shifted(x, h, w):
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (h // 2, h // 2), (w // 2, w // 2), (0, 0)))
    for a in range(h):
        for b in range(w):
            yield a * w + b, x[:, a : a + height, b : b + width]
