"""Several networks in one table, with what each of them costs."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dgunet_jax.evaluation.protocols import Protocol, Published, Suite
from dgunet_jax.evaluation.report import stated
from dgunet_jax.evaluation.scores import Evaluation, Scores
from dgunet_jax.evaluation.tables import Table
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import without_operator
from dgunet_jax.models.work import count

SIDE = 256  # of the picture whose restoration is measured
_RUNS = 5


class Cost(NamedTuple):
    """What restoring a picture of `SIDE`×`SIDE` pixels takes.

    Attributes:
      parameters: of the network.
      gflop: of convolutions and matrix products.
      seconds: on the first device, the median of five runs after compiling.
    """

    parameters: int
    gflop: float
    seconds: float


def cost_of(model: DGUNet, variables: Mapping[str, Any]) -> Cost:
    """Measure a network; of one that is told its operator, the part without it.

    Args:
      model, variables: the network.
    """
    config = without_operator(model.config).on(jax.local_devices()[0].platform)
    noise = 0.0 if config.noise_input else None

    def restore(variables: Any, y: jax.Array) -> jax.Array:
        restored: Any = DGUNet(config).apply(variables, y, noise=noise)
        return restored.image

    y = jnp.full((1, SIDE, SIDE, config.channels), 0.5)
    traced = jax.jit(restore).trace(variables, y)
    compiled = traced.lower().compile()
    compiled(variables, y).block_until_ready()
    seconds = []
    for _ in range(_RUNS):
        begin = time.perf_counter()
        compiled(variables, y).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return Cost(
        sum(leaf.size for leaf in jax.tree.leaves(variables)),
        count(traced.jaxpr.jaxpr) / 1e9,
        statistics.median(seconds),
    )


class Outcome(NamedTuple):
    """What came of a data set, or of all of a suite.

    Attributes:
      evaluations: by the folders of the data sets, "" for one alone; those that have scores.
      mean: of the data set, or the average; None if a score is missing.
      failures: one line for each picture, and each data set, that could not be scored.
    """

    evaluations: Mapping[str, Evaluation]
    mean: Scores | None
    failures: Sequence[str]


def comparison(
    members: Sequence[tuple[str, Protocol]],
    suite: Suite | None,
    outcomes: Mapping[str, Outcome],
    costs: Mapping[str, Cost],
) -> Table:
    """Return a line for each network, then the published ones.

    Args:
      members: the data sets, as `protocols.protocols` returns them.
      suite: what they belong to; None: there is one.
      outcomes: what came of each network, by its name.
      costs: of each network.
    """
    whole = members[0][1] if suite is None else suite
    sets = ["PSNR dB / SSIM"] if suite is None else [*(folder for folder, _ in members), "average"]

    lines = []
    for name, outcome in outcomes.items():
        found = [outcome.evaluations.get(folder) for folder, _ in members]
        means = [each and each.mean for each in found] + [outcome.mean] * (suite is not None)
        gain = None if outcome.mean is None else outcome.mean.gain
        parameters, gflop, seconds = costs[name]
        cost = f"{parameters:,}", f"{gflop:,.1f}", f"{1000 * seconds:,.0f}"
        lines.append((name, *cost, *map(_means, means), "" if gain is None else f"{gain:+.3f}"))
    for published in whole.published:
        same = [_of_model(protocol, published.model) for _, protocol in members]
        same += [published] * (suite is not None)
        lines.append((f"{published.model}, published", "", "", "", *map(_stated, same), ""))
    heads = ("", "parameters", "GFLOP", "ms", *sets, "gain dB")
    device = jax.local_devices()[0].device_kind
    note = f"GFLOP and ms are of a picture of {SIDE}×{SIDE} pixels, on one {device}."
    return Table(whole.title, heads, lines, note).shortened()


def _of_model(protocol: Protocol, model: str) -> Published | None:
    return next((each for each in protocol.published if each.model == model), None)


def _stated(published: Published | None) -> str:
    return "" if published is None else " / ".join(filter(None, stated(published)))


def _means(scores: Scores | None) -> str:
    return "–" if scores is None else f"{scores.psnr:.2f} / {scores.ssim:.4f}"
