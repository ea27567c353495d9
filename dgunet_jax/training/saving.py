"""A run's checkpoints."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dgunet_jax import checkpoints
from dgunet_jax.errors import UserError
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.training.step import TrainState

_WORST = -1e9  # dB; JSON knows no infinity


class RunCheckpoints:
    """Saves and restores a run in `workdir/checkpoints/`; the newest and the best are kept.

    Every checkpoint can be read with `dgunet_jax.load`: weights and configuration are items of
    their own.
    """

    def __init__(self, workdir: Path, config: DGUNetConfig):
        self._config = config
        self._folder = (workdir / checkpoints.RUN_FOLDER).absolute()
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),
                checkpoint_managers.BestN(get_metric_fn=_score, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, best_fn=_score, best_mode="max"
        )
        try:
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {error.strerror}") from error

    def save(self, state: TrainState, psnr: float | None) -> None:
        """Writes a checkpoint in the background; `psnr` in dB ranks it."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        state = jax.tree.map(np.asarray, state)
        score = psnr if psnr is not None and math.isfinite(psnr) else _WORST
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                model=ocp.args.JsonSave(checkpoints.describe(self._config, state.params)),
                optimizer=ocp.args.StandardSave(state.opt_state),
            ),
            metrics={"psnr": score},
        )

    def restore_newest(self, state: TrainState) -> TrainState | None:
        """The newest checkpoint's state with the shardings of `state`; None if there is none.

        Raises:
          UserError: the checkpoint belongs to another network.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        path = self._folder / str(step)
        model = self._manager.restore(step, args=ocp.args.Composite(model=ocp.args.JsonRestore()))
        if checkpoints.config_from_json(model["model"]["config"]) != self._config:
            raise UserError(
                f"{path}: was trained with another model config; choose another workdir"
            )
        abstract: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                optimizer=ocp.args.StandardRestore(abstract.opt_state),
            ),
        )
        checksums = checkpoints.checksums(restored["params"])
        if checksums != model["model"]["checksums"]:
            raise UserError(f"{path}: is damaged; remove it to go on from the one before")
        return dataclasses.replace(
            state,
            step=jax.device_put(np.int32(step), state.step.sharding),
            params=restored["params"],
            opt_state=restored["optimizer"],
        )

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _score(metrics: Any) -> float:
    return metrics["psnr"]
