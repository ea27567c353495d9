"""What the numbers of a study mean, in plain words; every word follows from a number."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dgunet_jax.analysis.steps import BOUND
from dgunet_jax.analysis.study import COSTLY_SIDE, ITERATIONS, Study

_SMALL_COSINE = 0.1  # below it directions of images have little to do with each other
_NEAR = 0.05  # gaps and errors below it count as none
_NOTHING = "The numbers are zero or not finite: there is nothing to compare."
_UNRELATED_GAP = 0.72  # ½ + ln 2 / π: the mean gap of two unrelated operators of one size


def sentences(study: Study) -> dict[str, str]:
    """One sentence or more for each figure that a study has, by the figure's name."""
    made: dict[str, Callable[[Study], str]] = {
        "progress": _progress,
        "moves": _moves,
        "gradient": _gradient,
        "adjointness": _adjointness,
        "steps": _steps,
    }
    if "flow" in study.stages[0]:
        made["flow"] = _flow
    if study.depth is not None:
        made["depth"] = _depth
    if study.explained is not None:
        made |= {"contraction": _contraction, "attribution": _attribution}
    return {name: sentence(study) for name, sentence in made.items()}


def _progress(study: Study) -> str:
    first, last = study.stages[0], study.stages[-1]
    residuals = (
        f"The residual Φ(x) − y goes from {first['residual']:.2g} to {last['residual']:.2g}"
        " (root mean square), each stage's with its own Φ."
    )
    psnr = [stage["psnr_x"] for stage in study.stages]
    if None in psnr:
        return residuals + " Without the clean image there is no PSNR."
    gains = _differences(psnr)
    if study.input is not None:
        gains = [psnr[0] - study.input["psnr"], *gains]
        begin = f"PSNR goes from {study.input['psnr']:.2f} dB, the input's, "
    else:
        gains = [0.0, *gains]
        begin = f"PSNR goes from {psnr[0]:.2f} dB after stage 1 "
    best = gains.index(max(gains))
    words = [f"{begin}to {psnr[-1]:.2f} dB"]
    if gains[best] > 0:
        words.append(f"; stage {best + 1} brings the most, {gains[best]:+.2f} dB")
    losing = [k for k, gain in enumerate(gains, 1) if gain < 0]
    if losing:
        words.append(f"; {_stages(losing)} {_verb(losing, 'lowers', 'lower')} it")
    return "".join(words) + f". {residuals}"


def _moves(study: Study) -> str:
    pairs = [(stage["gradient_move"], stage["proximal_move"]) for stage in study.stages]
    if not any(gradient for gradient, _ in pairs):
        return "There is no gradient step: the proximal steps do all the work."
    further = [k for k, (gradient, proximal) in enumerate(pairs, 1) if gradient > proximal]
    count = len(pairs)
    if not further:
        work = "The proximal step moves the estimate further than the gradient step in every stage"
    elif len(further) == count:
        work = "The gradient step moves the estimate further than the proximal step in every stage"
    else:
        work = (
            "The gradient step moves the estimate further than the proximal step in"
            f" {_stages(further)} only"
        )
    undone = [
        k
        for k, stage in enumerate(study.stages, 1)
        if stage["change"] < 0.5 * min(stage["gradient_move"], stage["proximal_move"])
    ]
    if not undone:
        return f"{work}."
    return (
        f"{work}. In {_stages(undone)} the two steps largely undo each other: the estimate changes"
        " by less than half of either."
    )


def _gradient(study: Study) -> str:
    count = len(study.stages)
    if all(stage["step"]["step_size"] == 0 for stage in study.stages):
        return "There is no gradient step to compare with a gradient."
    cosines = _known(study, "gradient", "cosine")
    if not cosines:
        return "The residuals are zero, so there is no direction to compare."
    errors = _known(study, "gradient", "relative_error")
    if max(errors) < 1e-3:
        alike = "Φᵀ(Φ(x) − y) is the gradient of the data term in every stage"
    else:
        descending = sum(c > 0 for c in cosines)
        alike = (
            f"The direction Φᵀ(Φ(x) − y) has cosines from {min(cosines):.2f} to {max(cosines):.2f}"
            f" with the gradient of its data term; it is a descent direction in {descending} of"
            f" {count} stages"
        )
    ratios = _known(study, "gradient", "data_ratio")
    falling = sum(ratio < 1 for ratio in ratios)
    words = f"{alike}. The step lowers the data term in {falling} of {count} stages."
    towards = _known(study, "gradient", "towards_clean")
    if not towards:
        return words
    relation = (
        "next to no relation with it"
        if max(map(abs, towards)) < _SMALL_COSINE
        else f"it points towards the clean image in {sum(c > 0 for c in towards)} of {count} stages"
    )
    return (
        f"{words} Its cosine with the way to the clean image is between {min(towards):.2f} and"
        f" {max(towards):.2f}: {relation}."
    )


def _adjointness(study: Study) -> str:
    gaps = _known(study, "adjointness", "random")
    used = _known(study, "adjointness", "in_use")
    if not gaps:
        return _NOTHING
    if max(gaps + used) < _NEAR:
        return "Φᵀ is the adjoint of Φ's derivative, to within 5 %, in every stage."
    words = (
        f"Over random directions the gap is between {min(gaps):.2f} and {max(gaps):.2f}; 0 would be"
        f" an adjoint pair, unrelated operators of one size have about {_UNRELATED_GAP}."
    )
    if used:
        words += (
            f" Along the residuals met in use it is between {min(used):.2f} and {max(used):.2f}."
        )
    return words


def _steps(study: Study) -> str:
    count = len(study.stages)
    products = [stage["step"]["product"] for stage in study.stages]
    if None in products:
        return _NOTHING
    if not any(products):
        return "There are no step sizes."
    inside = sum(0 < product < BOUND for product in products)
    words = (
        f"ρL lies between {min(products):.2f} and {max(products):.2f}, within the classical bounds"
        f" 0 and 2 in {inside} of {count} stages."
    )
    uphill = [k for k, product in enumerate(products, 1) if product < 0]
    if uphill:
        words += f" In {_stages(uphill)} ρ is negative."
    return words


def _contraction(study: Study) -> str:
    count = len(study.stages)
    images = _known(study, "contraction", "image")
    contracting = [k for k, value in enumerate(images, 1) if value < 1]
    gaps = _known(study, "contraction", "symmetry_gap")
    lowest = _known(study, "contraction", "lowest_quotient")
    if not (images and gaps and lowest):
        return _NOTHING
    open_ends = [k for k, s in enumerate(study.stages, 1) if not s["contraction"]["converged"]]
    stretched = (
        f"With the memory held, the largest stretch of a change of the estimate is between"
        f" {min(images):.2f} and {max(images):.2f}: {len(contracting)} of {count} stages contract"
        f" on this crop of at most {COSTLY_SIDE}² pixels."
    )
    if open_ends:
        stretched += f" In {_stages(open_ends)} the iteration had not settled: read at least."
    if max(gaps) < _NEAR:
        symmetric = "The Jacobians of the proximal maps are symmetric to within 5 %"
    else:
        symmetric = (
            f"The proximal maps' Jacobians have symmetry gaps between {min(gaps):.2f} and"
            f" {max(gaps):.2f}, true proximal maps none"
        )
    negative = [k for k, value in enumerate(lowest, 1) if value < 0]
    definite = (
        f"; in {_stages(negative)} a direction was met that is turned round, so"
        f" {_verb(negative, 'it is', 'they are')} not positive semi-definite."
        if negative
        else "; no probe showed that one is not positive semi-definite."
    )
    return f"{stretched} {symmetric}{definite}"


def _depth(study: Study) -> str:
    depth: dict[str, Any] = study.depth or {}
    changes = depth["change"]
    if changes[-1] > changes[0]:
        course = "do not settle"
    else:
        course = "settle" if changes[-1] < 0.1 * changes[0] else "settle slowly or not at all"
    words = f"Over {ITERATIONS} iterations the estimates {course}: the first changes them by"
    words += f" {changes[0]:.2g}, the last by {changes[-1]:.2g}."
    if depth["diverged_at"] is not None:
        words = f"The iteration diverges: from n = {depth['diverged_at']} on the estimates are not"
        words += " finite or ten times too large."
    if "psnr_result" not in depth:
        return words
    psnr, trained = depth["psnr_result"], depth["trained"]
    known = [(value, n) for n, value in enumerate(psnr, 1) if value is not None]
    if not known:
        return words
    best, at = max(known)
    at_trained = psnr[trained - 1] if trained <= len(psnr) else None
    if at_trained is not None:
        words += (
            f" With the network's own {trained} middle stages the result has {at_trained:.2f} dB,"
        )
        words += f" the best of all depths {best:.2f} dB with {at}"
        words += "." if psnr[-1] is None else f", the deepest {psnr[-1]:.2f} dB."
    return words


def _flow(study: Study) -> str:
    norms = _known(study, "flow", "estimate")
    if len(norms) < len(study.stages) or not norms[-1]:
        return _NOTHING
    ratio = norms[0] / norms[-1]
    way = "grows" if ratio > 1 else "shrinks"
    words = (
        f"On its way from the last stage back to the first, ‖∂L/∂x‖ {way} to {ratio:.2g} times its"
        " size."
    )
    cosines = study.flow_cosines
    if cosines is None:
        return words
    pairs = [cosines[i, j].item() for i in range(len(cosines)) for j in range(i)]
    against = sum(c < 0 for c in pairs)
    agree = (
        "no two pull against each other"
        if not against
        else f"{against} of {len(pairs)} are negative"
    )
    words += f" The gradients that the {len(cosines)} uses of the shared weights contribute have"
    if len(pairs) == 1:
        return f"{words} a cosine of {pairs[0]:.2f}."
    return f"{words} cosines between {min(pairs):.2f} and {max(pairs):.2f}: {agree}."


def _attribution(study: Study) -> str:
    radii = _known(study, "attribution", "radius_95")
    half = _known(study, "attribution", "radius_50")
    error = 0.0 if study.explained is None else study.explained.error
    return (
        f"Half of what the patch depends on lies within {half[0]:.0f} pixels of its centre in stage"
        f" 1 and within {half[-1]:.0f} in the last, 95 % within {radii[0]:.0f} and"
        f" {radii[-1]:.0f}. The integrated gradients miss {100 * error:.1f} % of the score they"
        " explain."
    )


def _known(study: Study, group: str, name: str) -> list[float]:
    """A number of every stage that has it."""
    numbers = (stage[group].get(name) for stage in study.stages)
    return [number for number in numbers if number is not None]


def _differences(values: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(values)]


def _stages(numbers: Iterable[int]) -> str:
    names = [str(number) for number in numbers]
    if len(names) == 1:
        return f"stage {names[0]}"
    return f"stages {', '.join(names[:-1])} and {names[-1]}"


def _verb(numbers: Sequence[int], one: str, several: str) -> str:
    return one if len(numbers) == 1 else several
