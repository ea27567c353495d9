"""Degradations as pairs of forward and adjoint, and the gradient step they serve."""

from dgunet_jax.operators.base import Operator, gradient_step
from dgunet_jax.operators.library import Identity, SamplingMatrix

__all__ = ["Identity", "Operator", "SamplingMatrix", "gradient_step"]
