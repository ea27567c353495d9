"""The networks of the page, and the steps they take."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.checkpoints import installed, installed_file, read, read_aloud
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.unfold import Unfolded, UnfoldedStage, unfold
from dgunet_jax.options import DENOISER
from dgunet_jax.restoration.plan import held_per_pixel
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.restoration.shapes import Size, pad_to_multiple
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError

_AT_ONCE = 3  # images of a picture that the page shows


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that restores pictures and shows its steps.

    Attributes:
      task: what it restores, in a few words; "" if the checkpoint does not say.
      restorer: gives its estimates.
      unfolded: gives its gradient steps.
      remark: what files that it restores say of it.
    """

    task: str
    restorer: Restorer
    unfolded: Unfolded
    remark: str | None

    @property
    def num_stages(self) -> int:
        return len(self.unfolded.stages)

    def check(self, size: Size) -> None:
        """Raise a UserError unless pictures of a size, (height, width), fit into memory."""
        # The estimates come together, the gradient steps one after the other.
        self.restorer.planner.plan(size, held=held_per_pixel(self.num_stages + 1, _AT_ONCE))

    def steps(self, image: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Yield v_1, x_1, …, v_K, x_K of an image.

        The image is padded as `Restorer` does. All of a gradient step is taken there, so it is the
        network's own up to the border.

        Args:
          image: (H, W, C), values in [0, 1].

        Yields:
          (H, W, C), float32, not clipped.

        Raises:
          UserError: as `Restorer` does.
        """
        height, width, _ = image.shape
        padded = pad_to_multiple(image, self.unfolded.config.multiple)
        x, y = self.unfolded.start(jnp.asarray(padded)[None])
        estimates = self.restorer.stages(padded)
        for stage, estimate in zip(self.unfolded.stages, estimates, strict=True):
            yield np.asarray(_gradient(stage, x, y))[0, :height, :width]
            yield estimate[:height, :width]
            x = estimate[None]


@highest
@jax.jit
def _gradient(stage: UnfoldedStage, x: jax.Array, y: jax.Array) -> jax.Array:
    return stage.gradient(x, y)


def read_networks(checkpoints: Sequence[Path], memory: int | None) -> dict[str, Network]:
    """Return the installed networks that take no operator, `denoise` first, then the checkpoints.

    Args:
      checkpoints: as `checkpoints.read` takes them.
      memory: bytes that may be used, as `Restorer` takes them.

    Returns:
      Networks by what the page calls them: the name of an installed one, the path of another.

    Raises:
      UserError: a checkpoint cannot be read, or restores no pictures by itself.
    """
    names = sorted(installed(), key=lambda name: (name != DENOISER, name))
    found = {name: read(installed_file(name)) for name in names}
    found = {name: each for name, each in found.items() if not each.model.config.takes_operator}
    for path in checkpoints:
        found[str(path)] = read_aloud(path)
        _check_task(path, found[str(path)].model.config)
    return {
        name: Network(
            task=each.about.task,
            restorer=Restorer(each.model, each.variables, memory=memory),
            unfolded=unfold(each.model, each.variables),
            remark=each.remark,
        )
        for name, each in found.items()
    }


def _check_task(checkpoint: Path, config: DGUNetConfig) -> None:
    """Raise a UserError unless a network restores pictures without being told of them."""
    if config.takes_operator:
        raise UserError(
            f"{checkpoint}: needs the operator that degrades the pictures; dgunet restore"
            " --operator takes it"
        )
    if config.measurements:
        raise UserError(f"{checkpoint}: is for compressive sensing; dgunet sense takes it")
    if config.noise_input:
        raise UserError(f"{checkpoint}: must be told the noise; pictures do not say theirs")
    if config.channels != 3:
        raise UserError(
            f"{checkpoint}: takes images of {config.channels} channels; pictures have 3"
        )
