"""What every stage achieves, and which of its two steps does the work."""

import flax.struct
import jax

from dgunet_jax.analysis.spectra import root_mean_square
from dgunet_jax.models.unfold import StageTrace
from dgunet_jax.system.compilation import highest

Array = jax.Array


@flax.struct.dataclass
class Progress:
    """Distances within a stage, each (N,): root mean squares on the images' scale, [0, 1].

    Attributes:
      residual: ‖Φ_k(x_{k−1}) − y‖, of the measurement's values.
      change: ‖x_k − x_{k−1}‖.
      gradient_move: ‖v_k − x_{k−1}‖, the gradient step.
      proximal_move: ‖x_k − v_k‖, the proximal step.
    """

    residual: Array
    change: Array
    gradient_move: Array
    proximal_move: Array


@highest
def progress(before: Array, traced: StageTrace) -> Progress:
    """Measures a stage from what it computed; three differences of images, no run of the stage.

    Source: v = x − ρ Φᵀ(Φ(x) − y), then x = prox(v): the two steps of Mou, Wang, Zhang, CVPR 2022,
    (5) and (6). The moves need not add up to the change: they may undo each other.

    Args:
      before: x_{k−1}, (N, H, W, C).
      traced: what the stage computed from it, as `dgunet_jax.trace` gives it.
    """
    return Progress(
        residual=root_mean_square(traced.residual),
        change=root_mean_square(traced.x - before),
        gradient_move=root_mean_square(traced.v - before),
        proximal_move=root_mean_square(traced.x - traced.v),
    )
