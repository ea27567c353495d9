"""Degradations as pairs of forward and adjoint, and the gradient step they serve."""

from dgunet_jax.operators.base import (
    Constant,
    Operator,
    as_pytree,
    gradient_step,
    size_multiple,
    zero_extends,
)
from dgunet_jax.operators.function import LinearOperator
from dgunet_jax.operators.imaging import Bayer, Blur, Downsample, Mask
from dgunet_jax.operators.library import (
    BlockSampling,
    Cropped,
    DenseSampling,
    Identity,
    SamplingMatrix,
    Within,
)
from dgunet_jax.operators.linear import (
    Composition,
    KnownOperator,
    Scaled,
    Stack,
    Sum,
    WithNorm,
    with_norm,
)
from dgunet_jax.operators.norm import real_adjoint
from dgunet_jax.operators.solvers import (
    conjugate_gradient,
    implicit_gradient_step,
    noise_damping,
    total_variation,
)
from dgunet_jax.operators.transforms import Fourier, Radon

__all__ = [
    "Bayer",
    "BlockSampling",
    "Blur",
    "Composition",
    "Constant",
    "Cropped",
    "DenseSampling",
    "Downsample",
    "Fourier",
    "Identity",
    "KnownOperator",
    "LinearOperator",
    "Mask",
    "Operator",
    "Radon",
    "SamplingMatrix",
    "Scaled",
    "Stack",
    "Sum",
    "WithNorm",
    "Within",
    "as_pytree",
    "conjugate_gradient",
    "gradient_step",
    "implicit_gradient_step",
    "noise_damping",
    "real_adjoint",
    "size_multiple",
    "total_variation",
    "with_norm",
    "zero_extends",
]
