"""The shared stage iterated far beyond the depth it was trained for."""

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.vectors import root_mean_square
from dgunet_jax.models.proximal import Memory
from dgunet_jax.models.unfold import UnfoldedStage
from dgunet_jax.system.compilation import highest

Array = jax.Array

DIVERGED = 10.0  # times the size of the first estimate


@flax.struct.dataclass
class Iterates:
    """What n = 1 … count iterations give; (count, N) but for the images.

    Attributes:
      residual: ‖Φ(x_{n−1}) − y‖, of the estimate before the iteration, a root mean square.
      change: ‖x_n − x_{n−1}‖, a root mean square.
      diverged: whether x_n is not finite or, as a root mean square, ten times as large as the
        estimate before the first iteration; once true, it stays so.
      estimates: x_n, (count, N, H, W, C).
      results: what the last stage makes of x_n, the same shape: the output of a network with n
        middle stages.
    """

    residual: Array
    change: Array
    diverged: Array
    estimates: Array
    results: Array


@highest
def iterate(
    stage: UnfoldedStage,
    last: UnfoldedStage,
    x: Array,
    memory: Memory | None,
    y: Array,
    count: int = 50,
) -> Iterates:
    """Iterates a stage on its own result and memory, and ends with the last stage each time.

    `count` runs of either stage, and of the shared Φ. A descent method would settle: its changes go
    to 0. Networks trained for a fixed depth need not; what models that are trained to have a limit
    do beyond their depth: Gilton, Ongie, Willett, IEEE TCI 2021.

    Args:
      stage: the middle stage whose weights all share.
      last: the last stage.
      x, memory: estimate and memory after the first stage.
      y: the measurement.
      count: iterations.
    """
    size = root_mean_square(x)

    def once(state, _):
        x, memory, diverged = state
        residual = root_mean_square(stage.operator.forward(x) - y)
        after, memory = stage.proximal(stage.gradient(x, y), memory, y)
        result, _ = last.proximal(last.gradient(after, y), memory, y)
        # Written so that NaN counts as too large.
        diverged = diverged | ~(root_mean_square(after) < DIVERGED * size)
        outcome = Iterates(
            residual=residual,
            change=root_mean_square(after - x),
            diverged=diverged,
            estimates=after,
            results=result,
        )
        return (after, memory, diverged), outcome

    start = (x, memory, jnp.zeros(x.shape[0], bool))
    return jax.lax.scan(once, start, None, length=count)[1]
