"""Whether Φᵀ is the adjoint of what Φ does to small changes."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.vectors import inner, probe, unit
from dgunet_jax.operators.gradient import Operator
from dgunet_jax.system.compilation import highest

Array = jax.Array


@flax.struct.dataclass
class Adjointness:
    """Adjointness gaps of a stage's operators, each (N,) in [0, 1]; 0 for an adjoint pair.

    Attributes:
      random: mean over pairs of random directions.
      in_use: along the residual r that the stage meets (u) and the step Φᵀ(r) it takes (w); NaN
        where the residual is zero.
    """

    random: Array
    in_use: Array


@highest
def adjointness_gap(
    forward: Callable[[Array], Array],
    adjoint: Callable[[Array], Array],
    x: Array,
    r: Array,
    u: Array,
    w: Array,
) -> Array:
    """|⟨J_Φᵀ(r) u, w⟩ − ⟨u, J_Φ(x) w⟩| / (|⟨J_Φᵀ(r) u, w⟩| + |⟨u, J_Φ(x) w⟩|), (N,).

    Two JVPs. The dot-product test of seismic inversion (Claerbout, Earth Soundings Analysis, 1992),
    on derivatives, since learned operators are not linear.

    Args:
      forward: Φ, images to measurements.
      adjoint: Φᵀ, measurements to images.
      x: where Φ is differentiated, (N, H, W, C).
      r: where Φᵀ is differentiated, of the measurements' shape.
      u: a direction of measurements.
      w: a direction of images.
    """
    left = inner(jax.jvp(adjoint, (r,), (u,))[1], w)
    right = inner(u, jax.jvp(forward, (x,), (w,))[1])
    return jnp.abs(left - right) / (jnp.abs(left) + jnp.abs(right))


@highest
def adjointness(
    operator: Operator, x: Array, y: Array, key: Array, probes: int = 16
) -> Adjointness:
    """The gaps of a stage's operators at its estimate and residual; 2 (probes + 1) JVPs.

    Args:
      operator: Φ and Φᵀ.
      x: the estimate before the step, (N, H, W, C).
      y: the measurement.
      key: of the random directions.
      probes: pairs of them.
    """

    def adjoint(r: Array) -> Array:
        return operator.adjoint(r, at=x)

    residual = operator.forward(x) - y

    def gap(u: Array, w: Array) -> Array:
        return adjointness_gap(operator.forward, adjoint, x, residual, u, w)

    def random_gap(key: Array) -> Array:
        first, second = jax.random.split(key)
        return gap(probe(first, residual), probe(second, x))

    return Adjointness(
        random=jax.lax.map(random_gap, jax.random.split(key, probes)).mean(axis=0),
        in_use=gap(unit(residual), unit(adjoint(residual))),
    )
