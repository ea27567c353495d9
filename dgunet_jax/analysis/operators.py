"""Learned operators: adjointness, the direction of gradient steps, and their sizes."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.spectra import cosine, inner, largest_singular_value, norm, probe, unit
from dgunet_jax.models.unfold import UnfoldedStage
from dgunet_jax.operators.base import Operator
from dgunet_jax.system.compilation import highest

Array = jax.Array

BOUND = 2.0  # gradient descent on a data term of curvature L converges for ρ L below it
TOLERANCE = 1e-3  # relative, of √L


@flax.struct.dataclass
class Adjointness:
    """Adjointness gaps of a stage's operators, each (N,) in [0, 1]; 0 for an adjoint pair.

    gap = |⟨J_Φᵀ(r) u, w⟩ − ⟨u, J_Φ(x) w⟩| / (|⟨J_Φᵀ(r) u, w⟩| + |⟨u, J_Φ(x) w⟩|), at an estimate x
    and a residual r: the dot-product test of seismic inversion (Claerbout, Earth Soundings
    Analysis, 1992), on derivatives, since learned operators are not linear.

    Attributes:
      random: mean over pairs of random directions.
      in_use: along the residual r that the stage meets (u) and the step Φᵀ(r) it takes (w); NaN
        where the residual is zero.
    """

    random: Array
    in_use: Array


@highest
def adjointness(
    operator: Operator, x: Array, y: Array, key: Array, probes: int = 16
) -> Adjointness:
    """Measure a stage's operators at its estimate and residual; 2 (probes + 1) JVPs.

    Args:
      operator: Φ and Φᵀ.
      x, y: the estimate before the step, (N, H, W, C), and the measurement.
      key: of the random directions, `probes` pairs.
    """

    def adjoint(r: Array) -> Array:
        return operator.adjoint(r, at=x)

    residual = jax.tree.map(jnp.subtract, operator.forward(x), y)

    def gap(u: Array, w: Array) -> Array:
        left = inner(jax.jvp(adjoint, (residual,), (u,))[1], w)
        right = inner(u, jax.jvp(operator.forward, (x,), (w,))[1])
        return jnp.abs(left - right) / (jnp.abs(left) + jnp.abs(right))

    def random_gap(key: Array) -> Array:
        first, second = jax.random.split(key)
        return gap(probe(first, residual), probe(second, x))

    return Adjointness(
        random=jax.lax.map(random_gap, jax.random.split(key, probes)).mean(axis=0),
        in_use=gap(unit(residual), unit(adjoint(residual))),
    )


@flax.struct.dataclass
class GradientQuality:
    """The direction g = Φᵀ(Φ(x) − y) of a step beside the gradient J_Φ(x)ᵀ(Φ(x) − y); each (N,).

    All are NaN where the residual is zero, since there is no direction then.

    Attributes:
      cosine: between the two, in [−1, 1]; 1 for a true gradient, above 0 if −g descends.
      relative_error: ‖g − gradient‖ / ‖gradient‖, 0 for a true gradient.
      data_ratio: f(x − ρ g) / f(x) with f = ½‖Φ(·) − y‖²; below 1 where the step lowers the data
        term.
      towards_clean: cosine between the step −ρ g and clean − x, in [−1, 1]; NaN for ρ = 0, None if
        the clean image is not known.
    """

    cosine: Array
    relative_error: Array
    data_ratio: Array
    towards_clean: Array | None


@highest
def gradient_quality(
    operator: Operator, step_size: Array | float, x: Array, y: Array, clean: Array | None = None
) -> GradientQuality:
    """Compare a stage's direction with the gradient, in two runs of Φ, one of Φᵀ and one VJP.

    Source: −g descends on f if ⟨g, ∇f⟩ > 0 (Nocedal and Wright, Numerical Optimization, 2006, 2.2);
    −ρ g does if this has the sign of ρ.

    Args:
      operator, step_size: Φ and Φᵀ, and ρ of the stage.
      x, y: the estimate before the step, (N, H, W, C), and the measurement.
      clean: the clean images, or None.
    """
    predicted, pull = jax.vjp(operator.forward, x)
    residual = jax.tree.map(jnp.subtract, predicted, y)
    # The adjoint of what JAX transposes.
    (gradient,) = pull(jax.tree.map(jnp.conj, residual))
    g = operator.adjoint(residual, at=x)
    after = jax.tree.map(jnp.subtract, operator.forward(x - step_size * g), y)
    return GradientQuality(
        cosine=cosine(g, gradient),
        relative_error=norm(g - gradient) / norm(gradient),
        data_ratio=inner(after, after) / inner(residual, residual),
        towards_clean=None if clean is None else cosine(-step_size * g, clean - x),
    )


@flax.struct.dataclass
class Step:
    """A step size beside the curvature of its data term; each (N,).

    Attributes:
      step_size: ρ.
      curvature: L = ‖J_Φ(x)‖₂², the Gauss-Newton curvature of ½‖Φ(x) − y‖², approached from below.
      product: ρ L. Descent is certain in (0, 2) for a linear Φ with its adjoint (Nesterov,
        Introductory Lectures on Convex Optimization, 2004, 1.2.3); a negative one ascends.
      converged: √L is certain to be within the tolerance of a singular value.
    """

    step_size: Array
    curvature: Array
    product: Array
    converged: Array


@highest
def step(
    stage: UnfoldedStage, x: Array, key: Array, tolerance: float = TOLERANCE, most: int = 100
) -> Step:
    """Measure ρ and L; at most `most` JVPs and VJPs of Φ, for the trained networks about 50.

    Not for use under `jit`: see `largest_singular_value`.

    Args:
      stage: as `dgunet_jax.unfold` returns it.
      x: the estimate before the step, (N, H, W, C).
      key, tolerance, most: of the iteration, see `largest_singular_value`.
    """
    found = largest_singular_value(_linearized(stage, x), x, key, tolerance, most)
    curvature = jnp.square(found.value)
    sizes = jnp.broadcast_to(jnp.ravel(jnp.asarray(stage.step_size, x.dtype)), curvature.shape)
    return Step(sizes, curvature, sizes * curvature, found.converged)


@jax.jit
def _linearized(stage: UnfoldedStage, x: Array) -> Callable[[Array], Array]:
    """dx ↦ J_Φ(x) dx."""
    return jax.linearize(stage.operator.forward, x)[1]
