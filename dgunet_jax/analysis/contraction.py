"""How much a stage stretches differences, and whether its proximal map could be one."""

import flax.struct
import jax

from dgunet_jax.analysis.spectra import (
    LargestSingularValue,
    Symmetry,
    largest_singular_value,
    symmetry,
)
from dgunet_jax.models.proximal import Memory
from dgunet_jax.models.unfold import UnfoldedStage

Array = jax.Array


@flax.struct.dataclass
class Contraction:
    """Norms of a stage's Jacobians.

    Attributes:
      image: ‖∂x_k/∂x_{k−1}‖₂ with the memory held: below 1 the stage contracts near this picture.
      state: ‖∂(x_k, memory_k)/∂(x_{k−1}, memory_{k−1})‖₂; the memory is features, whose scale is
        the network's own, so it is to be compared between stages rather than with 1.
      proximal: of ∂x_k/∂v_k with the memory held.
    """

    image: LargestSingularValue
    state: LargestSingularValue
    proximal: Symmetry


def contraction(
    stage: UnfoldedStage,
    x: Array,
    memory: Memory | None,
    y: Array,
    key: Array,
    tolerance: float = 1e-3,
    most: int = 60,
    probes: int = 8,
) -> Contraction:
    """Measures a stage where it was used; up to 2 · most JVPs and VJPs of it, and 2 · probes JVPs.

    Args:
      stage: as `dgunet_jax.unfold` gives it.
      x: the estimate before it, (N, H, W, C).
      memory: the memory before it; None before the first stage.
      y: the measurement.
      key: of random directions.
      tolerance, most: of the power iterations, see `largest_singular_value`.
      probes: see `symmetry`.
    """

    def run(state: tuple[Array, Memory | None]) -> tuple[Array, Memory | None]:
        return stage.proximal(stage.gradient(state[0], y), state[1], y)

    def run_image(x: Array) -> Array:
        return run((x, memory))[0]

    def proximal(v: Array) -> Array:
        return stage.proximal(v, memory, y)[0]

    keys = jax.random.split(key, 3)
    return Contraction(
        image=largest_singular_value(run_image, x, keys[0], tolerance, most),
        state=largest_singular_value(run, (x, memory), keys[1], tolerance, most),
        proximal=symmetry(proximal, stage.gradient(x, y), keys[2], probes),
    )
