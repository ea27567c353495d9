"""How a training loss reaches every stage."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.sweep import sweep
from dgunet_jax.analysis.vectors import norm
from dgunet_jax.models.unfold import Trace, Unfolded
from dgunet_jax.system.compilation import highest
from dgunet_jax.training.losses import LOSSES, LossStages

Array = jax.Array

LOSS = "charbonnier_edge"  # of deraining and deblurring


@flax.struct.dataclass
class Flow:
    """Gradients of L = Σ_k loss(x_k), over K stages, or of L = loss(x_K).

    Attributes:
      estimates: ‖∂L/∂x_k‖₂ of each picture, (K, N).
      weights: ‖∂L/∂θ_k‖₂ of each stage's weights, (K,); each use of shared weights counts alone.
      cosines: between the gradients that the uses of the shared middle weights contribute, (K − 2,
        K − 2), in [−1, 1]; None if they are not shared or used once. Negative ones pull against
        each other.
    """

    estimates: Array
    weights: Array
    cosines: Array | None


@highest
def flow(
    unfolded: Unfolded,
    inputs: Array,
    trace: Trace,
    clean: Array,
    loss: str = LOSS,
    loss_stages: LossStages = "all",
) -> Flow:
    """Measures the gradients at what a network computed; one VJP of every stage.

    Shared slopes and sampling matrices, which belong to no stage, are not counted. Source:
    gradients grow or vanish through deep recursions: Pascanu, Mikolov, Bengio, ICML 2013; cosines
    of gradients of the same weights: Yu et al., NeurIPS 2020.

    Args:
      unfolded: the network.
      inputs: what it was given.
      trace: what it computed.
      clean: the targets, (N, H, W, C).
      loss: one of `training.losses.LOSSES`.
      loss_stages: whose losses make L, those of all or of the last.
    """
    cotangents: list[Array | None] = [_gradient(loss, each.x, clean) for each in trace.stages]
    if loss_stages == "last":
        cotangents[:-1] = [None] * (len(cotangents) - 1)
    swept = sweep(unfolded, inputs, trace, cotangents, weights=True)
    vectors = [_flat(each) for each in swept.weights]
    config = unfolded.model.config
    uses = vectors[1:-1] if config.share_middle and config.num_middle > 1 else []
    return Flow(
        estimates=jnp.stack([norm(each) for each in swept.estimates]),
        weights=jnp.stack([jnp.linalg.norm(each) for each in vectors]),
        cosines=_cosines(jnp.stack(uses)) if uses else None,
    )


def _gradient(loss: str, x: Array, clean: Array) -> Array:
    return jax.grad(lambda x: LOSSES[loss](x, clean))(x)


def _flat(tree: Any) -> Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _cosines(vectors: Array) -> Array:
    gram = jnp.matmul(vectors, vectors.T, precision="highest")
    lengths = jnp.sqrt(jnp.diagonal(gram))  # summed like the rest, so that rounding cancels
    return gram / jnp.outer(lengths, lengths)
