"""Whether the gradient step goes along the gradient of its data term."""

import flax.struct
import jax

from dgunet_jax.analysis.vectors import cosine, inner, norm
from dgunet_jax.operators.gradient import Operator
from dgunet_jax.system.compilation import highest

Array = jax.Array


@flax.struct.dataclass
class GradientQuality:
    """The direction g = Φᵀ(Φ(x) − y) of a step beside the gradient J_Φ(x)ᵀ(Φ(x) − y); each (N,).

    All are NaN where the residual is zero: there is no direction then.

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
    """Compares a stage's direction with the gradient, in two runs of Φ, one of Φᵀ and one VJP.

    Source: −g descends on f if ⟨g, ∇f⟩ > 0 (Nocedal and Wright, Numerical Optimization, 2006, 2.2);
    −ρ g does if this has the sign of ρ.

    Args:
      operator: Φ and Φᵀ of the stage.
      step_size: ρ.
      x: the estimate before the step, (N, H, W, C).
      y: the measurement.
      clean: the clean images, if they are known.
    """
    predicted, pull = jax.vjp(operator.forward, x)
    residual = predicted - y
    (gradient,) = pull(residual)
    g = operator.adjoint(residual, at=x)
    after = operator.forward(x - step_size * g) - y
    return GradientQuality(
        cosine=cosine(g, gradient),
        relative_error=norm(g - gradient) / norm(gradient),
        data_ratio=inner(after, after) / inner(residual, residual),
        towards_clean=None if clean is None else cosine(-step_size * g, clean - x),
    )
