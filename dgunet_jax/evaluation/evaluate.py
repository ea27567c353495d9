"""Evaluating a data set, or several under one mean."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgunet_jax._version import __version__
from dgunet_jax.data.pairs import Pattern
from dgunet_jax.evaluation import report
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import Protocol, Suite, protocols
from dgunet_jax.evaluation.real_noise import Submission
from dgunet_jax.evaluation.report import write_report
from dgunet_jax.evaluation.restoring import Restoring
from dgunet_jax.evaluation.scores import (
    RESULTS,
    Evaluation,
    extent,
    mean,
    numbers,
    published_json,
    write_json,
)
from dgunet_jax.evaluation.scoring import (
    FILE,
    MOST,
    Comparison,
    another,
    check_same,
    extremes,
    score,
)
from dgunet_jax.system.errors import UserError, listed, printable
from dgunet_jax.system.files import locked, read_bytes
from dgunet_jax.system.terminal import show


def evaluate(
    protocol: Protocol,
    data: Path,
    output: Path,
    restoring: Restoring,
    *,
    limit: int | None = None,
    save_images: bool = False,
    pattern: Pattern | None = None,
) -> Evaluation:
    """Score a data set and writes results.json, images.csv and report.html.

    An evaluation that was stopped goes on: pictures that have scores in the folder, and have not
    changed since, are not restored again.

    Args:
      protocol: how; see `protocols.PROTOCOLS`.
      data: the data set's folder.
      output: folder of the results, made if it does not exist.
      restoring: who restores the pictures.
      limit: score only the first pictures by name, so many; None: all.
      save_images: write the restored pictures to images/ in the folder, as PNG.
      pattern: of the names of pairs; None: found out.

    Raises:
      UserError: there is nothing to score, the checkpoint cannot be used, or the folder holds
        another evaluation. What fails with single pictures is in the result instead.
    """
    found = find(protocol, data, pattern)
    found.tell_others()
    samples = found.samples[:limit]
    if not samples:
        count, failures = len(found.failures), listed(found.failures)
        raise UserError(
            f"{data}: nothing can be scored; pictures that failed ({count}): {failures}"
        )
    source = restoring.source(protocol)
    who = restoring.identity(protocol)
    identity = {"protocol": protocol.name, "dgunet_jax": __version__, **who}
    with locked(output):
        if (output / RESULTS).exists() and not (output / FILE).exists():
            raise another(output)  # a suite's, which has no journal of its own
        submission = Submission(output) if protocol.measure == "server" else None
        images, failures, showcase = score(
            submission or Comparison(protocol),
            samples,
            source,
            output,
            identity,
            save_images=save_images,
        )
        provenance = {
            **identity,
            "data": str(data),
            **restoring.provenance(),
        }
        evaluation = Evaluation(
            protocol,
            restoring.label(),
            images,
            [*found.failures, *failures],
            provenance,
            limit,
            submission and submission.bundle(sample.name for sample in found.samples),
        )
        evaluation.write(output)
        shown = _shown(evaluation)
        by_name = {sample.name: sample for sample in samples}
        names = [name for each in shown.values() for name in each]
        write_report(output, evaluation, shown, showcase.pictures(names, by_name, source))
    return evaluation


def _shown(evaluation: Evaluation) -> dict[str, list[str]]:
    """Which pictures a report shows, by title."""
    if evaluation.protocol.measure == "server":
        return {"Pictures": [name for name, _ in evaluation.images[:MOST]]}
    worst, best = extremes({name: scores.psnr for name, scores in evaluation.scored})
    return {"Worst pictures": worst, "Best pictures": best}


def evaluate_suite(
    suite: Suite,
    data: Path,
    output: Path,
    restoring: Restoring,
    *,
    limit: int | None = None,
    save_images: bool = False,
    pattern: Pattern | None = None,
) -> list[str]:
    """Score each data set into a folder of its own, prints the tables and writes results.json.

    There is an average only if all of them have scores.

    Args:
      suite: which.
      data, output, restoring: as `evaluate` takes them; the data sets have folders in each.
      limit, save_images, pattern: as `evaluate` takes them, for each data set.

    Returns:
      One line for each picture, and each data set, that could not be scored.

    Raises:
      UserError: the checkpoint cannot be used, or the folder holds another evaluation.
    """
    members = protocols(suite.name)
    for _, protocol in members:
        restoring.check(protocol)
    identity = {"protocol": suite.name, "dgunet_jax": __version__, **restoring.identity()}
    evaluations: dict[str, Evaluation] = {}
    failures: list[str] = []
    with locked(output):
        _check_folder(output, identity)
        for folder, protocol in members:
            try:
                evaluation = evaluate(
                    protocol,
                    data / folder,
                    output / folder,
                    restoring.below(folder),
                    limit=limit,
                    save_images=save_images,
                    pattern=pattern,
                )
            except UserError as error:
                failures.append(printable(error))
                continue
            evaluations[folder] = evaluation
            failures += evaluation.failures
            show(report.table(evaluation))
        means = [each.mean for each in evaluations.values() if each.mean is not None]
        average = mean(means) if len(means) == len(members) else None
        rows = report.suite_rows(suite, [*evaluations.items()], average)
        show(report.text(f"{suite.title} ({suite.name})", rows))
        content = {
            "protocol": suite.name,
            "mean": average and numbers(average),
            "members": {
                folder: {
                    **numbers(each.mean if each else None),
                    **extent(protocol, each.images if each else (), limit),
                }
                for folder, protocol in members
                for each in [evaluations.get(folder)]
            },
            "published": [published_json(each) for each in suite.published],
            "failures": failures,
            "provenance": {**identity, "data": str(data), **restoring.provenance()},
        }
        write_json(output / RESULTS, content)
    return failures


def _check_folder(output: Path, identity: Mapping[str, Any]) -> None:
    """Raises a UserError if a folder holds anything but this suite's results."""
    if (output / FILE).exists():
        raise another(output)
    if not (output / RESULTS).exists():
        return
    try:
        was = json.loads(read_bytes(output / RESULTS))["provenance"]
        was = {key: was.get(key) for key in identity}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise another(output) from None
    check_same(output, was, identity)
