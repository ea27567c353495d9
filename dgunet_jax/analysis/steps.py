"""Step sizes against the bound of gradient descent."""

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.spectra import largest_singular_value
from dgunet_jax.operators.gradient import Operator

Array = jax.Array

BOUND = 2.0  # ρ L below it: gradient descent on a data term of curvature L converges


@flax.struct.dataclass
class Step:
    """A step size beside the curvature of its data term; each (N,).

    Attributes:
      step_size: ρ.
      curvature: L = ‖J_Φ(x)‖₂², the Gauss-Newton curvature of ½‖Φ(x) − y‖².
      product: ρ L. Descent is certain in (0, 2) for a linear Φ with its adjoint (Nesterov,
        Introductory Lectures on Convex Optimization, 2004, 1.2.3); a negative one ascends.
      converged: whether the power iteration for L did.
    """

    step_size: Array
    curvature: Array
    product: Array
    converged: Array


def step(operator: Operator, step_size: Array | float, x: Array, key: Array) -> Step:
    """Measures ρ and L; at most 100 JVPs and VJPs of Φ.

    Args:
      operator: Φ.
      step_size: ρ, a scalar.
      x: the estimate before the step, (N, H, W, C).
      key: of the power iteration.
    """
    found = largest_singular_value(operator.forward, x, key)
    curvature = jnp.square(found.value)
    sizes = jnp.broadcast_to(jnp.asarray(step_size, x.dtype), curvature.shape)
    return Step(sizes, curvature, sizes * curvature, found.converged)
