"""A data set's table: find the pictures, restore and score them, write the results."""

from pathlib import Path

from dgunet_jax._version import __version__
from dgunet_jax.data.matching import Pattern
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.dnd import Submission
from dgunet_jax.evaluation.journal import FILE, another
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.report import write_report
from dgunet_jax.evaluation.restoring import Restoring
from dgunet_jax.evaluation.results import RESULTS, Evaluation
from dgunet_jax.evaluation.scoring import Comparison, score
from dgunet_jax.evaluation.showcase import MOST, extremes
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.files import locked


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
