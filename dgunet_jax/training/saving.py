"""A run's checkpoints: everything that is needed to go on, and proof that it is intact."""

import dataclasses
import itertools
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dgunet_jax import checkpoints
from dgunet_jax.errors import UserError, one_line, reason
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.training import hosts
from dgunet_jax.training.step import TrainState

_WORST = -1e9  # dB; JSON knows no infinity


class RunCheckpoints:
    """Saves and restores a run in `workdir/checkpoints/`; the two newest and the best are kept.

    A checkpoint has the items `params` and `model`, the weights to restore with and what network
    they belong to, which `dgunet_jax.load` reads, and `training`, all else: the trained weights
    where `params` is their average, the optimizer and the counts. Every leaf has a checksum.

    Args:
      workdir: the run's.
      config: the network.
      settings: what the run must agree in with the one that wrote the checkpoints, as JSON values.

    Raises:
      UserError: the folder cannot be read or written.
    """

    def __init__(self, workdir: Path, config: DGUNetConfig, settings: Mapping[str, Any]):
        self._config, self._settings = config, dict(settings)
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
            self._put_unranked_aside()  # Orbax cannot begin with them
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {reason(error)}") from error

    def save(self, state: TrainState, psnr: float | None) -> None:
        """Writes a checkpoint in the background; `psnr` in dB ranks it.

        Raises:
          UserError: the one before could not be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        # A copy: the next step reuses the memory while the checkpoint is being written.
        state = _copy(state)
        training = _training(state)
        self._check_room(state)
        model = checkpoints.describe(self._config, state.weights)
        model["training"] = {"checksums": _checksums(training), "settings": self._settings}
        score = psnr if psnr is not None and math.isfinite(psnr) else _WORST
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.weights),
                    model=ocp.args.JsonSave(model),
                    training=ocp.args.StandardSave(training),
                ),
                metrics={"psnr": score},
            )
        except Exception as error:  # Orbax raises errors of many kinds
            raise _unwritable(self._folder, error) from error

    def restore_newest(self, state: TrainState) -> TrainState | None:
        """The newest intact checkpoint's state, with the shardings of `state`.

        Damaged ones that are newer are told and put aside, as STEP.damaged.

        Returns:
          None if there is no checkpoint.

        Raises:
          UserError: the checkpoints belong to another network, another run or another version, one
            cannot be read at this time, or all are damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            restored, problem = None, None
            try:
                restored = self._restore(step, state)
            except _Damaged as error:
                problem = str(error)
            # What one process cannot read none goes on from.
            if not hosts.gathered(np.array([problem is not None])).any():
                return restored
            hosts.wait_for_all(f"all have read {step}")
            if hosts.is_first():
                self._put_aside(step, problem or "another process cannot read it")
            hosts.wait_for_all(f"{step} is put aside")
            self._manager.reload()
        if steps:
            raise UserError(f"{self._folder}: all checkpoints are damaged; start in a new workdir")
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Waits until everything is written, unless a process is gone that takes part in it.

        Raises:
          UserError: it could not be.
        """
        if kind is not None and issubclass(kind, hosts.PeerLost):
            return
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except hosts.PeerLost:
            raise
        except Exception as error:
            # What is being raised already says more.
            if kind is None:
                raise _unwritable(self._folder, error) from error

    def _check_room(self, state: TrainState) -> None:
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise UserError(
                f"{self._folder}: has {free / 1e6:,.1f} MB left; a checkpoint needs"
                f" {needed / 1e6:,.1f} MB"
            )

    def _put_aside(self, step: int, problem: str) -> None:
        path = self._folder / str(step)
        names = itertools.chain(
            [f"{step}.damaged"], (f"{step}.damaged{i}" for i in itertools.count(2))
        )
        aside = next(each for name in names if not (each := path.with_name(name)).exists())
        path.rename(aside)
        line = f"{path}: is damaged ({problem}); it is {aside.name} now"
        print(line, file=sys.stderr, flush=True)

    def _put_unranked_aside(self) -> None:
        if hosts.is_first():
            for path in checkpoints.steps_of_run(self._folder):
                try:
                    checkpoints.score_of(path)
                except ValueError as error:
                    self._put_aside(int(path.name), f"its score: {one_line(error)}")
        hosts.wait_for_all("all that are left have a score")

    def _restore(self, step: int, state: TrainState) -> TrainState:
        path = self._folder / str(step)
        try:
            json = ocp.args.Composite(model=ocp.args.JsonRestore())
            model: Any = self._manager.restore(step, args=json)["model"]
            text, settings = model["config"], model["training"]["settings"]
        except Exception as error:
            raise _problem(path, error) from error
        try:
            config = checkpoints.config_from_json(text)
        except UserError as error:  # nothing is damaged that was written by a later version
            raise UserError(f"{path}: {error}; choose another workdir, or remove it") from error
        if _without_free(config) != _without_free(self._config):
            raise UserError(
                f"{path}: was trained with another model config; choose another workdir"
            )
        if changed := sorted(
            name
            for name in settings.keys() | self._settings.keys()
            if settings.get(name) != self._settings.get(name)
        ):
            raise UserError(
                f"{path}: was trained with other settings ({', '.join(changed)}); choose another"
                " workdir, or give it as init_from"
            )
        training: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, _training(state))
        weights: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, state.weights)
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(weights),
                    training=ocp.args.StandardRestore(training),
                ),
            )
        except Exception as error:
            raise _problem(path, error) from error
        weights, training = items["params"], items["training"]
        expected = model["checksums"], model["training"]["checksums"]
        if (checkpoints.checksums(weights), _checksums(training)) != expected:
            raise _Damaged("wrong checksums")
        return dataclasses.replace(
            state,
            params=training["params"] or weights,
            average=None if state.average is None else weights,
            opt_state=training["optimizer"],
            **training["counts"],
        )


class _Damaged(Exception):
    pass


def _without_free(config: DGUNetConfig) -> DGUNetConfig:
    """A network without the choices that change what it costs, and not what it computes."""
    return dataclasses.replace(config, remat=False, unroll=1)


def _problem(path: Path, error: Exception) -> Exception:
    """What an error of Orbax, which raises many kinds, says of a checkpoint: is it damaged?"""
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    passing = isinstance(error, OSError) and not isinstance(error, missing)
    if passing or isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        return UserError(f"{path}: cannot be read: {reason(error)[:300]}")
    return _Damaged(one_line(error)[:200])


@jax.jit
def _copy(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


_COUNTS = ("step", "skipped", "skipped_in_row", "best_gain", "collapsed_in_row")


def _training(state: TrainState) -> dict[str, Any]:
    """All of a state but the weights to restore with."""
    return {
        "params": {} if state.average is None else state.params,
        "optimizer": state.opt_state,
        "counts": {name: getattr(state, name) for name in _COUNTS},
    }


def _checksums(tree: Any) -> dict[str, int]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return checkpoints.checksums({jax.tree_util.keystr(path): leaf for path, leaf in flat})


def _score(metrics: Any) -> float:
    return metrics["psnr"]


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be written: {reason(error)[:300]}")
