"""What `dgunet evaluate` does."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dgunet_jax.errors import UserError
from dgunet_jax.evaluation import datasets, tables
from dgunet_jax.evaluation.evaluate import Restoring, evaluate
from dgunet_jax.evaluation.protocols import SUITES, Protocol, protocols
from dgunet_jax.evaluation.results import Evaluation, mean, published_json, write_json
from dgunet_jax.restoration.command import parse_bytes, parse_mesh, parse_tile

Members = Sequence[tuple[str, Protocol]]


def run(options: argparse.Namespace) -> int:
    """Evaluates what a command line asks for.

    Returns:
      0, or 2 if a picture could not be scored or, with --check, anything is missing.

    Raises:
      UserError: nothing could be scored at all.
    """
    members = protocols(options.dataset or options.protocol)
    if not options.data.is_dir():
        raise UserError(f"{options.data}: no such folder")
    if options.check:
        return _check(members, options.data)
    _check_options(options)
    restoring = Restoring(
        checkpoint=options.checkpoint,
        restored=options.restored,
        num_stages=options.num_stages,
        self_ensemble=options.self_ensemble,
        tile=parse_tile(options.tile),
        mesh=parse_mesh(options.mesh),
        dtype=options.dtype,
        memory=parse_bytes(options.memory),
        cache=not options.no_cache,
    )
    evaluations: list[tuple[str, Evaluation]] = []
    failures: list[str] = []
    for folder, protocol in members:
        try:
            evaluation = evaluate(
                protocol,
                options.data / folder,
                options.output / folder,
                restoring.below(folder),
                limit=options.limit,
                save_images=options.save_images,
            )
        except UserError as error:
            if not folder:
                raise
            failures.append(str(error))
            continue
        evaluations.append((folder, evaluation))
        failures += evaluation.failures
        print(tables.text(tables.header(evaluation), tables.rows(evaluation)), flush=True)
    if options.dataset in SUITES and evaluations:
        _average(options.dataset, evaluations, failures, options.output)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} failed", file=sys.stderr)
    return 2 if failures else 0


def _check_options(options: argparse.Namespace) -> None:
    if options.output is None:
        raise UserError("--output is needed, unless --check")
    if options.checkpoint is None and options.restored is None:
        raise UserError("one of --checkpoint, --restored and --check is needed")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: must be at least 1")
    if options.output.resolve().is_relative_to(options.data.resolve()):
        raise UserError(f"--output {options.output}: must not be in the data set's folder")
    if options.restored is not None:
        given = [name for name in ("self_ensemble", "num_stages", "mesh", "tile", "dtype")
                 if getattr(options, name) is not None]  # fmt: skip
        if given:
            name = given[0].replace("_", "-")
            raise UserError(f"--{name}: is for a checkpoint; --restored restores nothing")


def _check(members: Members, data: Path) -> int:
    """Says what of the data sets is there, and what is missing."""
    status = 0
    for folder, protocol in members:
        try:
            found = datasets.find(protocol, data / folder)
        except UserError as error:
            print(f"error: {protocol.title}: {error}", file=sys.stderr)
            status = 2
            continue
        print(
            f"{protocol.title}: {len(found.samples)} pictures that can be scored in {data / folder}"
        )
        for path in found.others:
            print(f"left out, not a picture: {path}", file=sys.stderr)
        problems = [*found.failures, *filter(None, [found.shortage(protocol)])]
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        status = 2 if problems else status
    return status


def _average(
    name: str, evaluations: Sequence[tuple[str, Evaluation]], failures: Sequence[str], output: Path
) -> None:
    """Prints and writes the average over the data sets of a suite, if all of them have scores."""
    suite = SUITES[name]
    means = [each.mean for _, each in evaluations if each.mean is not None]
    average = mean(means) if len(means) == len(suite.members) else None
    print(
        tables.text(f"{suite.title} ({suite.name})", tables.suite_rows(suite, evaluations, average))
    )
    content = {
        "protocol": suite.name,
        "mean": average and average._asdict(),
        "members": {folder: each.as_json()["mean"] for folder, each in evaluations},
        "published": [published_json(each) for each in suite.published],
        "failures": list(failures),
    }
    write_json(output / "results.json", content)
