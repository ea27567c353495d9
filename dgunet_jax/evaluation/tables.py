"""Tables of our numbers and the published ones."""

from collections.abc import Sequence
from typing import NamedTuple

from dgunet_jax.evaluation.measures import Scores
from dgunet_jax.evaluation.protocols import Published, Suite
from dgunet_jax.evaluation.results import Evaluation


class Row(NamedTuple):
    """A line of a table, as text."""

    label: str
    psnr: str
    ssim: str
    source: str


def rows(evaluation: Evaluation) -> list[Row]:
    """Ours, then what is published."""
    ours = _row(evaluation.label, evaluation.mean, evaluation.scope())
    return [ours, *map(_published, evaluation.protocol.published)]


def suite_rows(
    suite: Suite, evaluations: Sequence[tuple[str, Evaluation]], average: Scores | None
) -> list[Row]:
    """Every data set's means, their average, and the published averages."""
    ours = [_row(folder, each.mean, each.scope()) for folder, each in evaluations]
    scope = f"{len(evaluations)} of {len(suite.members)} data sets"
    incomplete = sum(not each.complete for _, each in evaluations)
    scope += f", {incomplete} of them incomplete" if incomplete else ""
    return [*ours, _row("average", average, scope), *map(_published, suite.published)]


def header(evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    return f"{protocol.title} (protocol {protocol.name}): {evaluation.description()}"


def table(evaluation: Evaluation) -> str:
    """A data set's table for a terminal."""
    return text(header(evaluation), rows(evaluation))


def text(title: str, lines: Sequence[Row]) -> str:
    """A table for a terminal."""
    width = max(len(line.label) for line in lines)
    body = [f"{'':{width}}  PSNR dB    SSIM"]
    for line in lines:
        body.append(f"{line.label:{width}}  {line.psnr:>7}  {line.ssim:>6}  {line.source}".rstrip())
    return "\n".join([title, *body])


def psnr_text(psnr: float) -> str:
    return f"{psnr:.3f}"


def ssim_text(ssim: float) -> str:
    return f"{ssim:.4f}"


def _published(published: Published) -> Row:
    ssim = "" if published.ssim is None else _as_stated(published.ssim, 3)
    label = f"{published.model}, published"
    return Row(label, _as_stated(published.psnr, 2), ssim, published.source)


def _as_stated(value: float, digits: int) -> str:
    """With as many digits as papers give, or one more where it has one."""
    return f"{value:.{digits if round(value, digits) == value else digits + 1}f}"


def _row(label: str, scores: Scores | None, source: str) -> Row:
    if scores is None:
        return Row(label, "–", "–", source)
    return Row(label, psnr_text(scores.psnr), ssim_text(scores.ssim), source)
