"""What known operators refuse, and with which words."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dgunet_jax.operators import (
    Bayer,
    BlockSampling,
    Blur,
    Constant,
    DenseSampling,
    Downsample,
    Fourier,
    Identity,
    LinearOperator,
    Mask,
    Radon,
    Stack,
    conjugate_gradient,
    size_multiple,
    with_norm,
)
from dgunet_jax.system.errors import UserError

X = np.random.default_rng(0).random((2, 12, 9, 3), np.float32)
BAD = np.array([[1, np.nan, np.inf]])
ONES = np.ones((3, 3))

REFUSED = {
    "kernel": (lambda: Blur(BAD), "kernel has 2 values that are not finite, such as nan"),
    "kernel_rank": (lambda: Blur(np.ones(3)), r"kernel has the shape \(3,\); it must be \(h, w\)"),
    "kernel_empty": (lambda: Blur(np.ones((0, 3))), r"\(0, 3\); it must be \(h, w\)"),
    "kernel_complex": (lambda: Blur(1j * ONES), "complex128; it must be an array of real numbers"),
    "kernel_text": (lambda: Blur("box"), r"kernel has the shape \(\)"),
    "border": (lambda: Blur(ONES, "wrap"), "border is .wrap.; it must be .zero., .circular., .ref"),
    "mask": (lambda: Mask(2 * ONES - 3), r"mask has values from -1 to -1; .* in \[0, 1\]"),
    "mask_above": (lambda: Mask(np.array([[0, 1.5]])), r"from 0 to 1.5"),
    "factor": (lambda: Downsample(0), "factor is 0; it must be a whole number, at least 1"),
    "factor_half": (lambda: Downsample(1.5), "factor is 1.5"),
    "kernel_name": (lambda: Downsample(2, "cubic"), "kernel is 'cubic'; it must be 'area', "),
    "offset": (lambda: Downsample(2, ONES, offset=2), "offset is 2; .* must be 0 to 1"),
    "offset_of_area": (lambda: Downsample(4, offset=0), "offset is 0; 'area' has 1"),
    "pattern": (lambda: Bayer("RGBG"), "pattern is 'RGBG'; it must be 'RGGB', 'BGGR', "),
    "ratio": (lambda: BlockSampling.draw(1.1, 4, np.random.default_rng()), "ratio is 1.1"),
    "block": (lambda: BlockSampling(ONES, 0), "block is 0; it must be at least 1"),
    "rows": (lambda: BlockSampling(ONES, 2), r"\(3, 3\); with blocks of 2×2 .* 4 values"),
    "dense": (lambda: DenseSampling(ONES, (2, 2, 1)), r"\(3, 3\) and images \(2, 2, 1\)"),
    "coils": (lambda: Fourier(ONES, np.ones((2, 3, 4))), r"coils .* \(2, 3, 4\) .* \(3, 3\)"),
    "angles": (lambda: Radon(ONES, (3, 3)), r"angles has the shape \(3, 3\); it must be \(A,\)"),
    "detectors": (lambda: Radon(np.zeros(1), (3, 3), 0), "detectors is 0"),
    "radon_shape": (lambda: Radon(np.zeros(1), (3, 0)), r"shape is \(3, 0\)"),
    "stack": (lambda: Stack(()), "Stack has no operators"),
    "scale": (lambda: np.nan * Identity(), "factor has 1 values that are not finite"),
    "scale_rank": (lambda: Identity() * np.ones(3), r"factor has the shape \(3,\); .* a number"),
    "steps": (lambda: conjugate_gradient(Identity(), X, -1), "steps is -1"),
    "damping": (lambda: conjugate_gradient(Identity(), X, 1, -0.5), "damping is -0.5"),
    "function": (lambda: LinearOperator(3, (4, 4, 1)), "f is a int; it must be a function"),
    "function_shape": (lambda: LinearOperator(abs, (4, 4)), r"shape is \(4, 4\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


IMAGES = {
    "rank": (Blur(ONES), X[0], r"floating-point images \(N, H, W, C\); got \(12, 9, 3\) float32"),
    "integers": (Blur(ONES), X.astype(np.uint8), "floating-point .* uint8"),
    "size": (Mask(np.ones((9, 12))), X, r"images of 9×12 pixels; got \(2, 12, 9, 3\)"),
    "channels": (Mask(np.ones((12, 9, 2))), X, "images of 2 channels; got"),
    "colours": (Bayer(), X[..., :1], "Bayer takes images of 3 channels"),
    "multiple": (Downsample(4), X, "sides are multiples of 4; got"),
    "small": (Blur(np.ones((3, 11)), "reflect"), X, "at least; got 12×9"),
    "each": (Blur(np.ones((3, 5, 5))), X, r"for 3 images, of shape \(3, 5, 5\); got 2 images"),
    "function": (LinearOperator(lambda x: x, (4, 4, 1)), X, "images of 4×4 pixels"),
    "sum": (Identity() + Downsample(3), X, "Sum needs measurements of one shape"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_wrong_images_are_refused(name):
    operator, x, message = IMAGES[name]
    with pytest.raises(UserError, match=message):
        operator.forward(x)


WEIGHTS = jnp.asarray(np.random.default_rng(1).random((1, 4, 5, 1)), jnp.float32)


FUNCTIONS = {
    "square": (lambda x: x * x, r"f is not linear: .* differ by \d\.\d+ of"),
    "absolute": (jnp.abs, "f is not linear: .* at most 0.0003 is rounding"),
    "offset": (lambda x: x + 0.1, "f is not linear"),
    "infinite": (lambda x: x / 0, "f gives 40 of 40 values that are not finite"),
    "not_a_number": (lambda x: x.at[0, 0, 0, 0].set(jnp.nan), "f gives 1 of 40 values"),
    "batch": (lambda x: x - x[::-1], "f mixes the images of a batch: .* changes by"),
    "sum": (lambda x: x.sum(), r"f gives \(\) float32 of images \(2, 4, 5, 1\)"),
    "integers": (lambda x: x.astype(int), "must give floating-point"),
    "nothing": (lambda x: (), "f gives nothing"),
    "fails": (lambda x: x @ jnp.ones((3, 3)), r"f fails on images \(2, 4, 5, 1\): "),
    "transpose": (lambda x: jnp.sign(x) * jnp.abs(x), "f has no transpose"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_no_linear_operators(name):
    f, message = FUNCTIONS[name]
    with pytest.raises(UserError, match=message) as caught:
        LinearOperator(f, (4, 5, 1))
    assert "\n" not in str(caught.value)


def test_transpose_that_is_not_the_adjoint(monkeypatch):
    # A wrong transpose stands for a faulty rule of a user's own primitive; JAX's rules are right.
    right = jax.linear_transpose

    def wrong(f, *like):
        return lambda r: jax.tree.map(lambda each: 1.01 * each, right(f, *like)(r))

    monkeypatch.setattr(jax, "linear_transpose", wrong)
    with pytest.raises(
        UserError, match=r"not its adjoint: Re⟨f\(x\), r⟩ is -?\d.* ⟨x, fᴴ\(r\)⟩ is"
    ):
        LinearOperator(lambda x: WEIGHTS * x, (4, 5, 1))


def test_function_under_tracing_is_neither_tried_nor_measured():
    tried = []

    def scale(weights, x):
        tried.append(x.shape)
        return weights * x

    @jax.jit
    def run(weights, x):
        operator = LinearOperator(Partial(scale, weights), (4, 5, 1))
        with pytest.raises(UserError, match="cannot be measured while JAX is tracing"):
            operator.squared_norm()
        LinearOperator(Partial(scale, WEIGHTS), (4, 5, 1), norm=4.0)  # with nothing traced in it
        return LinearOperator(Partial(scale, weights), (4, 5, 1), norm=4.0).start(x)

    x = jnp.ones((3, 4, 5, 1))
    np.testing.assert_allclose(run(WEIGHTS, x), np.tile(WEIGHTS / 4, (3, 1, 1, 1)), rtol=1e-6)
    assert all(shape[0] == 3 for shape in tried if shape)
    outside = LinearOperator(Partial(scale, WEIGHTS), (4, 5, 1))
    largest = float(WEIGHTS.max()) ** 2
    assert largest * 0.999 < outside.squared_norm() < 1.021 * largest


def test_function_for_every_size():
    operator = LinearOperator(lambda x: 0.5 * x[:, ::-1], None)
    for shape in ((1, 7, 5, 2), (2, 4, 4, 1)):
        y = operator.measurement(shape)
        assert operator.image_shape(y) == y.shape == shape
    assert float(operator.squared_norm()) == pytest.approx(0.25, rel=1e-4)
    with pytest.raises(UserError, match=r"no measurement \(1, 7, 5, 2\) complex64"):
        operator.image_shape(jax.ShapeDtypeStruct((1, 7, 5, 2), np.complex64))


def test_function_in_double_precision_is_held_to_it():
    with jax.enable_x64(True):
        with pytest.raises(UserError, match=r"f is not linear: .* at most 1e-08 is rounding"):
            LinearOperator(lambda x: x + 1e-6 * x * x, (4, 5, 1), np.float64)
        LinearOperator(lambda x: WEIGHTS * x, (4, 5, 1), np.float64)


def test_transformations_construct_without_checks():
    operator = Mask(np.full((12, 9), 0.5, np.float32))
    gradient = jax.grad(lambda each: (each.forward(X) ** 2).sum())(operator)
    assert isinstance(gradient, Mask) and gradient.mask.max() > 1
    assert jax.tree.map(lambda leaf: -leaf, operator).mask.min() < 0
    abstract = jax.eval_shape(lambda: operator)
    assert isinstance(abstract, Mask)


def test_norm_that_is_not_finite():
    class Broken(Identity):
        def forward(self, x):
            return x / 0

    with pytest.raises(UserError, match=r"norm of the operator on images \(1, 4, 4, 1\) is nan"):
        with_norm(Constant(Broken()), (1, 4, 4, 1))


def test_constant_has_what_it_holds():
    class Half:
        size_multiple: ClassVar[int] = 4

        def forward(self, x):
            return x / 2

        def adjoint(self, r, at):
            return r / 2

        def start(self, y):
            return 2 * y

    held = Constant(Downsample(3))
    assert size_multiple(held) == 3 and held.squared_norm() == 1 / 9
    assert held.image_shape(held.measurement(X.shape)) == X.shape
    bare = Constant(Half())
    assert size_multiple(bare) == 4 and bare.measurement(X.shape).shape == X.shape
    assert size_multiple(object()) == 1
    with pytest.raises(UserError, match="Half has no method squared_norm"):
        bare.squared_norm()
