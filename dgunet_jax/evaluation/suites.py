"""The data sets of a suite one after the other, and the average over them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgunet_jax._version import __version__
from dgunet_jax.data.matching import Pattern
from dgunet_jax.evaluation import tables
from dgunet_jax.evaluation.evaluate import evaluate
from dgunet_jax.evaluation.journal import FILE, another, check_same
from dgunet_jax.evaluation.protocols import Suite, protocols
from dgunet_jax.evaluation.restoring import Restoring
from dgunet_jax.evaluation.results import (
    RESULTS,
    Evaluation,
    extent,
    mean,
    numbers,
    published_json,
    write_json,
)
from dgunet_jax.system.errors import UserError, printable
from dgunet_jax.system.files import locked, read_bytes
from dgunet_jax.system.terminal import show


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
            show(tables.table(evaluation))
        means = [each.mean for each in evaluations.values() if each.mean is not None]
        average = mean(means) if len(means) == len(members) else None
        rows = tables.suite_rows(suite, [*evaluations.items()], average)
        show(tables.text(f"{suite.title} ({suite.name})", rows))
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
