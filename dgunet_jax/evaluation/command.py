"""What `dgunet evaluate` does."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgunet_jax.data.folders import lies_in, visible
from dgunet_jax.data.pairs import Pattern
from dgunet_jax.evaluation import datasets, report
from dgunet_jax.evaluation.evaluate import evaluate, evaluate_suite
from dgunet_jax.evaluation.protocols import SUITES, Protocol, protocols
from dgunet_jax.evaluation.restoring import Restoring
from dgunet_jax.restoration.command import parse_bytes, parse_mesh, parse_tile
from dgunet_jax.system.errors import UserError, counted, printable
from dgunet_jax.system.terminal import say, show

Members = Sequence[tuple[str, Protocol]]

# Options that only a checkpoint reads, and those that nothing but scoring does, as they are if they
# are not given.
_COMPUTING: Mapping[str, object] = {
    **dict.fromkeys(("self_ensemble", "num_stages", "weights", "mesh", "tile", "memory", "dtype")),
    "precision": "highest",
    "no_cache": False,
}
_SCORING: Mapping[str, object] = {"limit": None, "save_images": False, **_COMPUTING}


def run(options: argparse.Namespace) -> int:
    """Evaluate what a command line asks for.

    Returns:
      0, or 2 if a picture could not be scored or, with --check, anything is missing.

    Raises:
      UserError: nothing could be scored at all.
    """
    members = protocols(options.dataset or options.protocol)
    visible(options.data)  # tells what is wrong with it
    pattern = None if options.pairs is None else Pattern.parse(options.pairs)
    if options.check:
        _refuse(options, _SCORING, "is for scoring; --check scores nothing")
        return _check(members, options.data, pattern)
    _check_options(options)
    restoring = Restoring(
        checkpoint=options.checkpoint,
        restored=options.restored,
        num_stages=options.num_stages,
        weights=options.weights,
        self_ensemble=options.self_ensemble,
        tile=parse_tile(options.tile),
        mesh=parse_mesh(options.mesh),
        dtype=options.dtype,
        precision=options.precision,
        memory=parse_bytes(options.memory),
        cache=not options.no_cache,
    )
    how: dict[str, Any] = {
        "limit": options.limit,
        "save_images": options.save_images,
        "pattern": pattern,
    }
    if options.dataset in SUITES:
        suite = SUITES[options.dataset]
        failures = evaluate_suite(suite, options.data, options.output, restoring, **how)
    else:
        ((_, protocol),) = members
        evaluation = evaluate(protocol, options.data, options.output, restoring, **how)
        show(report.table(evaluation))
        failures = evaluation.failures
    for failure in failures:
        say(f"error: {failure}")
    if failures:
        say(f"{len(failures)} failed")
    return 2 if failures else 0


def _check_options(options: argparse.Namespace) -> None:
    if options.output is None:
        raise UserError("--output is needed, unless --check")
    if options.checkpoint is None and options.restored is None:
        raise UserError("one of --checkpoint, --restored and --check is needed")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: must be at least 1")
    if lies_in(options.output, options.data):
        raise UserError(f"--output {options.output}: must not be in the data set's folder")
    if options.restored is not None:
        _refuse(options, _COMPUTING, "is for a checkpoint; --restored restores nothing")


def _refuse(options: argparse.Namespace, unset: Mapping[str, object], why: str) -> None:
    """Raises a UserError if one of these options is given."""
    for name, value in unset.items():
        if getattr(options, name) is not value:
            raise UserError(f"--{name.replace('_', '-')}: {why}")


def _check(members: Members, data: Path, pattern: Pattern | None) -> int:
    """Say what of the data sets is there, and what is missing."""
    status = 0
    for folder, protocol in members:
        try:
            found = datasets.find(protocol, data / folder, pattern)
        except UserError as error:
            say(f"error: {protocol.title}: {error}")
            status = 2
            continue
        held = counted(len(found.samples), "picture")
        show(f"{protocol.title}: {held} that can be scored in {printable(data / folder)}")
        found.tell_others()
        problems = [*found.failures, *filter(None, [found.shortage(protocol)])]
        for problem in problems:
            say(f"error: {problem}")
        status = 2 if problems else status
    return status
