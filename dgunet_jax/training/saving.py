"""A run's checkpoints: everything that is needed to go on, and proof that it is intact."""

import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dgunet_jax import directories
from dgunet_jax.about import About
from dgunet_jax.data.config import DataConfig
from dgunet_jax.models.config import DGUNetConfig, config_from_json
from dgunet_jax.system import hosts, runs, terminal
from dgunet_jax.system.errors import UserError, listed, one_line, reason
from dgunet_jax.system.files import replacing
from dgunet_jax.system.storage import as_epath, is_remote
from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.step import TrainState

_WORST = -1e9  # dB; JSON knows no infinity
_ITEMS = ("params", "model", "training")
_UNFINISHED = ".orbax-checkpoint-tmp"


# What a setting is in a run that was begun before there was such a setting.
_DEFAULTS = {
    f"{group}.{field.name}": field.default
    for group, kind in (("data", DataConfig), ("optimizer", OptimizerConfig))
    for field in dataclasses.fields(kind)
}


class RunCheckpoints:
    """Saves and restores a run in `workdir/checkpoints/`; the two newest and the best are kept.

    A checkpoint has the items `params` and `model`, the weights to restore with and what network
    they belong to, which `dgunet_jax.load` reads, and `training`, all else: the trained weights
    where `params` is their average, the optimizer and the counts. Every leaf has a checksum.

    Args:
      workdir: the run's.
      config: the network.
      settings: what the run must agree in with the one that wrote the checkpoints, as JSON values.
      about: what checkpoints say of the training, beside their step.

    Raises:
      UserError: the folder cannot be read or written.
    """

    def __init__(
        self,
        workdir: Path,
        config: DGUNetConfig,
        settings: Mapping[str, Any],
        about: About | None = None,
    ):
        self._config, self._settings, self._about = config, dict(settings), about or About()
        self._folder = (workdir / runs.RUN_FOLDER).absolute()
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
            self._rank_all()
            self._manager = ocp.CheckpointManager(as_epath(self._folder), options=options)
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
        about = dataclasses.replace(self._about, steps=step)
        model = directories.describe(self._config, state.weights, about)
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
        """Return the newest intact checkpoint's state, with the shardings of `state`.

        Those whose bytes are wrong and that are newer are told and put aside, as STEP.damaged.

        Returns:
          None if the folder is empty.

        Raises:
          UserError: the checkpoints belong to another network, another run, another version or
            another precision, one cannot be read at this time, or there are only damaged ones.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
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
        # A remote folder is not there while it is empty.
        held = self._folder.iterdir() if self._folder.is_dir() else ()
        left = sorted(path.name for path in held if _is_checkpoint(path))
        if hosts.gathered(np.array([bool(left)])).any():
            raise UserError(
                f"{self._folder}: no checkpoint to go on from, but {listed(left)}; --restart moves"
                " them aside and begins again at step 0"
            )
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
        if is_remote(self._folder):
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise _unwritable(self._folder, error) from error
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
        terminal.say(f"{path}: is damaged ({problem}); it is {aside.name} now")

    def _rank_all(self) -> None:
        """Give checkpoints whose score is damaged or missing the worst; Orbax needs one."""
        if hosts.is_first():
            for path in runs.steps_of_run(self._folder):
                if not _has_score(metrics := path / "metrics" / "metrics"):
                    metrics.parent.mkdir(exist_ok=True)
                    with replacing(metrics) as file:
                        file.write(json.dumps({"psnr": _WORST}).encode())
                    terminal.say(f"{path}: has lost its score and counts as the worst now")
        hosts.wait_for_all("all checkpoints have a score")

    def _restore(self, step: int, state: TrainState) -> TrainState:
        path = self._folder / str(step)
        try:
            read = ocp.args.Composite(model=ocp.args.JsonRestore())
            model: Any = self._manager.restore(step, args=read)["model"]
        except Exception as error:
            raise _problem(path, error) from error
        try:
            text, settings = model["config"], dict(model["training"]["settings"])
            expected = model["checksums"], model["training"]["checksums"]
            config = config_from_json(text)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: is not of this version; choose another workdir, or --restart"
            ) from error
        except UserError as error:  # nothing is damaged that was written by a later version
            raise UserError(f"{path}: {error}; choose another workdir, or --restart") from error
        if _without_free(config) != _without_free(self._config):
            raise UserError(
                f"{path}: was trained with another model config; choose another workdir"
            )
        if changed := sorted(
            name
            for name in settings.keys() | self._settings.keys()
            if settings.get(name, _DEFAULTS.get(name)) != self._settings.get(name)
        ):
            raise UserError(
                f"{path}: was trained with other settings ({', '.join(changed)}); choose another"
                " workdir, or give it as init_from"
            )
        training: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, _training(state))
        weights: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, state.weights)
        try:
            for name, wanted in (("params", weights), ("training", training)):
                _check_kind(path / name, wanted)
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
        if (directories.checksums(weights), _checksums(training)) != expected:
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
    return dataclasses.replace(config, remat=False, unroll=1, kernels="auto")


def _check_kind(item: Path, wanted: Any) -> None:
    """Raise a UserError unless an item of a checkpoint holds the arrays that are wanted.

    Orbax would change their type without a word.
    """
    stored: Any = ocp.StandardCheckpointHandler().metadata(as_epath(item))
    shapes, types = (
        [
            {name: getattr(leaf, what) for name, leaf in ocp.tree.to_flat_dict(tree).items()}
            for tree in (stored.tree, wanted)
        ]
        for what in ("shape", "dtype")
    )
    if shapes[0] != shapes[1]:
        raise UserError(f"{item}: holds other arrays than this version; choose another workdir")
    there, here = types
    if changed := [name for name in here if there[name] != here[name]]:
        old, new = np.dtype(there[changed[0]]), np.dtype(here[changed[0]])
        advice = f"start it with JAX_ENABLE_X64={int(old.itemsize > new.itemsize)}"
        raise UserError(
            f"{item}: holds {old} numbers, where this process computes in {new};"
            f" {advice if 8 in (old.itemsize, new.itemsize) else 'choose another workdir'}"
        )


def _has_score(metrics: Path) -> bool:
    """Return whether a file holds a score; a UserError if it cannot be read."""
    try:
        return isinstance(json.loads(metrics.read_bytes())["psnr"], int | float)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return False
    except OSError as error:
        raise UserError(f"{metrics}: cannot be read: {reason(error)}") from error


def _is_checkpoint(path: Path) -> bool:
    """Return whether something looks like a checkpoint, whole or not, under its name or another."""
    if _UNFINISHED in path.name or not runs.is_committed(path):
        return False
    return path.name[0].isdigit() or any((path / item).exists() for item in _ITEMS)


def _problem(path: Path, error: Exception) -> Exception:
    """Return what an error of Orbax, which raises many kinds, says of a checkpoint.

    Only where bytes are wrong or missing, and all that is there can be read, is it damaged.
    """
    if isinstance(error, UserError):
        return error
    try:
        directories.check_readable(path)
    except UserError as unreadable:
        return unreadable
    errors = list(_causes(error))
    missing = [item for item in _ITEMS if not (path / item).is_dir()]
    if missing or any(map(directories.is_damage, errors)):
        return _Damaged(f"no {missing[0]}" if missing else one_line(errors[-1])[:200])
    return UserError(f"{path}: cannot be read: {reason(error)[:300]}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


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
    return directories.checksums({jax.tree_util.keystr(path): leaf for path, leaf in flat})


def _score(metrics: Any) -> float:
    return metrics["psnr"]


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be written: {reason(error)[:300]}")
