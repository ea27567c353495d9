"""Convolutions and recomputation, chosen by platform."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero, linear_call

Array = jax.Array
Kernels = Literal["auto", "cpu", "gpu", "plain"]

_BLOCK = 64  # output channels
_MOST = 15  # zeros worth adding to them
_MOST_IN_GRADIENT = 24  # and to those of a kernel's gradient
_TENSOR_CORE = 16  # bytes of channels that a GPU's matrix units take at once
_GPUS = "gpu", "cuda", "rocm"
_THIN = 3  # channels up to which a convolution is a matrix product of shifted copies

_kernels: contextvars.ContextVar[Kernels] = contextvars.ContextVar("kernels", default="auto")


@contextlib.contextmanager
def kernels(choice: Kernels) -> Iterator[None]:
    """Choose the form of the convolutions that are traced within the block.

    Args:
      choice: "auto": that of the platform JAX computes on; "cpu": the form for XLA's CPU
        backend; "gpu": channels filled up for matrix units; "plain": XLA's own convolutions.
    """
    token = _kernels.set(choice)
    try:
        yield
    finally:
        _kernels.reset(token)


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Cross-correlation of `x` (N, H, W, I) with `kernel` (h, w, I, O), zero padded by (h − 1) //
    2.

    The size stays with an odd kernel and stride 1, and is halved by a 4×4 kernel with stride 2.
    """
    if kernel.shape[0] == 1:
        return _matrix_product(x, kernel[0, 0])
    return _FORMS[_form()](x, kernel, stride)


def upsample(x: Array, kernel: Array) -> Array:
    """Transposed 2×2 convolution of stride 2: out[2h + a, 2w + b] = x[h, w] · kernel[a, b].

    Windows that do not overlap make it one matrix product and a reordering. `kernel` (2, 2, I, O).
    """
    n, height, width, _ = x.shape
    a, b, _, o = kernel.shape
    blocks = jnp.einsum("nhwi,abio->nhawbo", x, kernel)
    return blocks.reshape(n, height * a, width * b, o)


def shared(x: Array) -> Array:
    """Return `x`, of which all that reads it shares one copy; XLA's CPU backend makes several."""
    return lax.optimization_barrier(x) if _form() == "cpu" else x


def kernels_of(platform: str) -> Kernels:
    """Return the form of the convolutions for "cpu", "gpu", "cuda", "rocm", "tpu" or another."""
    return "cpu" if platform == "cpu" else "gpu" if platform in _GPUS else "plain"


def _form() -> Kernels:
    chosen = _kernels.get()
    return kernels_of(jax.default_backend()) if chosen == "auto" else chosen


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _on_cpu(x: Array, kernel: Array, stride: int) -> Array:
    if thin := _thin_form(kernel.shape, stride):
        return thin(x, kernel)
    filled = _declared(x, _filled(kernel, 3), stride)
    return filled[..., : kernel.shape[3]]


@_on_cpu.defjvp
def _on_cpu_jvp(stride, primals, tangents):
    x, kernel = primals
    dx, dkernel = tangents
    thin = _thin_form(kernel.shape, stride)

    # Checkpointed, so that a transposed copy of the input is not kept for the backward pass.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def from_input(dx, kernel):
        if thin:
            return thin(dx, kernel)
        # Its transpose has the inputs as outputs, so those are the channels to fill up.
        dx, kernel = _filled(dx, 3), _filled(kernel, 2).swapaxes(2, 3)
        return _declared(dx, kernel, stride, ("NHWC", "HWOI", "NHWC"))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def from_kernel(x, dkernel):
        if thin:
            return thin(x, dkernel)
        outputs = dkernel.shape[3]
        x = x.transpose(3, 1, 2, 0)
        dkernel = _filled(dkernel.transpose(2, 0, 1, 3), 3, most=_MOST_IN_GRADIENT)
        turned = _declared(x, dkernel, stride, ("CHWN", "IHWO", "HWNC"))
        return turned.transpose(2, 0, 1, 3)[..., :outputs]

    value = _on_cpu(x, kernel, stride)
    return value, from_input(dx, kernel) + from_kernel(x, dkernel)


def _thin_form(shape: tuple[int, ...], stride: int) -> Callable[[Array, Array], Array] | None:
    """How XLA's CPU backend computes a convolution of few input or output channels."""
    *_, inputs, outputs = shape
    if stride != 1 or min(inputs, outputs) > _THIN:
        return None
    return _few_inputs if inputs <= _THIN else _few_outputs


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


def _aligned(x, kernel, stride):
    """A convolution whose channels are multiples of what matrix units take, filled up with zeros.

    cuDNN does the same to channels that are none, but copies whole arrays to do so, before and
    after each convolution; here it is part of what makes them and of what reads them.
    """
    multiple = _TENSOR_CORE // kernel.dtype.itemsize
    inputs, outputs = (-channels % multiple for channels in kernel.shape[2:])
    if not inputs and not outputs:
        return _declared(x, kernel, stride)
    x = jnp.pad(x, [(0, 0)] * 3 + [(0, inputs)])
    kernel = jnp.pad(kernel, [(0, 0), (0, 0), (0, inputs), (0, outputs)])
    return _declared(x, kernel, stride)[..., : kernel.shape[3] - outputs]


_PLAIN = ("NHWC", "HWIO", "NHWC")


def _declared(x, kernel, stride, layouts=_PLAIN):
    border = (kernel.shape[layouts[1].index("H")] - 1) // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((border, border),) * 2, dimension_numbers=layouts
    )


_FORMS = {"cpu": _on_cpu, "gpu": _aligned, "plain": _declared}


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


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, of which nothing but its arguments is kept for the backward pass.

    Unlike `jax.checkpoint`, it is computed again only when its cotangents are there. XLA's CPU
    backend, which drops optimization barriers, otherwise does it earlier, and keeps the results
    while it works on what comes after `function`. First derivatives in both modes; forward over
    reverse is not possible.

    Args:
      function: of floating-point arrays and trees of such; the first argument, an array, goes into
        all that needs much memory. It must not close over values of a transformation. The first
        leaf of its result is not empty.
    """

    @jax.custom_jvp
    def run(*arguments):
        return function(*arguments)

    def rule(arguments, tangents):
        leaves, tree = jax.tree.flatten(arguments)
        directions = jax.tree.leaves(tangents, is_leaf=_is_zero)
        moving = [i for i, direction in enumerate(directions) if not _is_zero(direction)]

        def of_moving(leaves):
            """`function` of the leaves that are differentiated, and what these are."""

            def moved(*chosen):
                replaced = dict(zip(moving, chosen, strict=True))
                return function(*tree.unflatten(replaced.get(i, a) for i, a in enumerate(leaves)))

            return moved, [leaves[i] for i in moving]

        def forward(leaves, directions):
            moved, chosen = of_moving(leaves)
            return jax.jvp(moved, chosen, directions)[1]

        def backward(leaves, cotangents):
            some = jax.tree.leaves(cotangents)[0].ravel()[0]
            # No compiler knows that it is finite; if it is not, neither is the gradient.
            first = jnp.where(jnp.isfinite(some), leaves[0], jnp.nan)
            moved, chosen = of_moving([first, *leaves[1:]])
            return list(jax.vjp(moved, *chosen)[1](cotangents))

        chosen = [directions[i] for i in moving]
        return function(*arguments), linear_call(forward, backward, leaves, chosen)

    run.defjvp(rule, symbolic_zeros=True)
    return run


def _is_zero(direction):
    return isinstance(direction, SymbolicZero)
