"""Step sizes against the bound of gradient descent."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.spectra import largest_singular_value_of
from dgunet_jax.models.unfold import UnfoldedStage
from dgunet_jax.system.compilation import highest

Array = jax.Array

BOUND = 2.0  # ρ L below it: gradient descent on a data term of curvature L converges
TOLERANCE = 1e-3  # relative, of √L


@flax.struct.dataclass
class Step:
    """A step size beside the curvature of its data term; each (N,).

    Attributes:
      step_size: ρ.
      curvature: L = ‖J_Φ(x)‖₂², the Gauss-Newton curvature of ½‖Φ(x) − y‖²; it comes from below.
      product: ρ L. Descent is certain in (0, 2) for a linear Φ with its adjoint (Nesterov,
        Introductory Lectures on Convex Optimization, 2004, 1.2.3); a negative one ascends.
      converged: whether √L is certain to be within the tolerance of a singular value.
    """

    step_size: Array
    curvature: Array
    product: Array
    converged: Array


@highest
def step(
    stage: UnfoldedStage,
    x: Array,
    key: Array,
    tolerance: float = TOLERANCE,
    most: int = 100,
) -> Step:
    """Measures ρ and L; at most `most` JVPs and VJPs of Φ, for the trained networks about 50.

    Not for use under `jit`: see `largest_singular_value_of`.

    Args:
      stage: as `dgunet_jax.unfold` gives it.
      x: the estimate before the step, (N, H, W, C).
      key: of the first direction.
      tolerance, most: of the iterations, see `largest_singular_value_of`.
    """
    found = largest_singular_value_of(_linearized(stage, x), x, key, tolerance, most)
    curvature = jnp.square(found.value)
    sizes = jnp.broadcast_to(jnp.asarray(stage.step_size, x.dtype), curvature.shape)
    return Step(sizes, curvature, sizes * curvature, found.converged)


@jax.jit
def _linearized(stage: UnfoldedStage, x: Array) -> Callable[[Array], Array]:
    """dx ↦ J_Φ(x) dx."""
    return jax.linearize(stage.operator.forward, x)[1]
