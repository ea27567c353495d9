"""What the numbers of a study mean, in plain words; every word follows from a number."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dgunet_jax.analysis import operators, stages
from dgunet_jax.analysis.study import ITERATIONS, Explained, Study

_SMALL_COSINE = 0.1  # below it directions of images have little to do with each other
_NEAR = 0.05  # gaps and errors below it count as none
_NOTHING = "The numbers are zero or not finite: there is nothing to compare."
_UNRELATED_GAP = 0.72  # ½ + ln 2 / π: the mean gap of two unrelated operators of one size

Pairs = Sequence[tuple[int, float]]  # stages and their numbers


def sentences(study: Study) -> dict[str, str]:
    """One sentence or more for each figure that a study has, by the figure's name."""
    say: dict[str, Callable[[Study], str]] = {
        "progress": _progress,
        "moves": _moves,
        "gradient": _gradient,
        "adjointness": _adjointness,
        "steps": _steps,
        "contraction": _contraction,
        "depth": _depth,
        "flow": _flow,
        "attribution": _attribution,
    }
    return {name: say[name](study) for name in study.subjects}


def _progress(study: Study) -> str:
    if study.config.degradation == "none":
        return _psnr(study)
    return f"{_psnr(study)} {_residuals(study)}"


def _psnr(study: Study) -> str:
    psnr = [stage["psnr_x"] for stage in study.stages]
    if None in psnr:
        return "Without the clean image there is no PSNR."
    begin = None if study.input is None else study.input["psnr"]
    exact = ["the input"] if begin == math.inf else []
    exact += [f"x{k}" for k, value in enumerate(psnr, 1) if value == math.inf]
    if exact:
        return f"PSNR is infinite where an image is the clean one: {', '.join(exact)}."
    if begin is not None:
        gains = [psnr[0] - begin, *_differences(psnr)]
        words = f"PSNR goes from {begin:.2f} dB, the input's, to {psnr[-1]:.2f} dB"
    else:
        gains = [0.0, *_differences(psnr)]
        words = f"PSNR goes from {psnr[0]:.2f} dB after stage 1 to {psnr[-1]:.2f} dB"
    best = gains.index(max(gains))
    if gains[best] > 0:
        words += f"; stage {best + 1} brings the most, {gains[best]:+.2f} dB"
    losing = [k for k, gain in enumerate(gains, 1) if gain < 0]
    if losing:
        words += f"; {_stages(losing)} {_verb(losing, 'lowers', 'lower')} it"
    return f"{words}."


def _residuals(study: Study) -> str:
    known = _known(study, "residual")
    if not known:
        return "The residuals are not finite."
    shown = [f"{value:.2g} in stage {k}" for k, value in dict([known[0], known[-1]]).items()]
    config = study.config
    if config.degradation in ("known", "identity"):
        whose = "all with the same Φ"
    elif config.share_middle and config.num_middle > 1:
        whose = "the first and the last stage with a Φ of their own, the others with a shared one"
    else:
        whose = "each stage with its own Φ"
    return (
        "The residual ‖Φₖ(xₖ₋₁) − y‖ that a stage starts from is"
        f" {' and '.join(shown)} (root mean square), {whose}."
    )


def _moves(study: Study) -> str:
    stages = [s for s in study.stages if None not in (s["gradient_move"], s["proximal_move"])]
    if not stages:
        return _NOTHING
    if study.config.degradation == "none":
        return "There is no gradient step: the proximal steps do all the work."
    still = len(stages) == len(study.stages) and not any(s["gradient_move"] for s in stages)
    if still and any(s["proximal_move"] for s in stages):
        return "The gradient steps move nothing: the proximal steps do all the work."
    groups: dict[str, list[int]] = {"gradient": [], "proximal": [], "neither": []}
    for stage in stages:
        gradient, proximal = stage["gradient_move"], stage["proximal_move"]
        name = "neither" if gradient == proximal else "gradient"
        groups[name if gradient >= proximal else "proximal"].append(stage["stage"])
    parts = []
    for name, other in (("gradient", "proximal"), ("proximal", "gradient")):
        if groups[name]:
            where = _where(groups[name], study)
            parts.append(
                f"the {name} step moves the estimate further than the {other} step {where}"
            )
    if groups["neither"]:
        parts.append(f"the two steps move it equally far {_where(groups['neither'], study)}")
    work = "; ".join(parts)
    words = f"{work[0].upper()}{work[1:]}."
    undone = [
        stage["stage"]
        for stage in stages
        if stage["change"] is not None
        and stage["change"] < 0.5 * min(stage["gradient_move"], stage["proximal_move"])
    ]
    if undone:
        words += (
            f" In {_stages(undone)} the two steps largely undo each other: the estimate changes"
            " by less than half of either."
        )
    return words


def _gradient(study: Study) -> str:
    sizes = dict(_known(study, "step", "step_size"))
    if len(sizes) == len(study.stages) and not any(sizes.values()):
        return "Every ρ is 0: there is no step to compare with a gradient."
    cosines = _known(study, "gradient", "cosine")
    errors = _known(study, "gradient", "relative_error")
    ratios = _known(study, "gradient", "data_ratio")
    if not (cosines and errors):
        return "Residuals or directions are zero or not finite: there is nothing to compare."
    if max(_values(errors)) < 1e-3:
        words = f"Φᵀ(Φ(x) − y) is the gradient of the data term {_every(errors, study)}"
    else:
        words = (
            f"The direction g = Φᵀ(Φ(x) − y) has cosines {_range(cosines, 'from', 'to')} with the"
            " gradient of its data term"
        )
    slopes = [(k, value * sizes[k]) for k, value in cosines if k in sizes]
    words += f"; −ρ g is a descent direction {_in(sum(s > 0 for _, s in slopes), slopes, study)}."
    if ratios:
        falling = sum(ratio < 1 for ratio in _values(ratios))
        words += f" The step lowers the data term {_in(falling, ratios, study)}."
    uphill = [k for k, size in sizes.items() if size < 0]
    if uphill:
        words += f" In {_stages(uphill)} ρ is negative: the step goes along g, not against it."
    towards = _known(study, "gradient", "towards_clean")
    if not towards:
        return words
    if max(map(abs, _values(towards))) < _SMALL_COSINE:
        relation = "next to no relation with it"
    else:
        there = sum(value > 0 for value in _values(towards))
        relation = f"it points towards the clean image {_in(there, towards, study)}"
    return (
        f"{words} The cosine of the step with the way to the clean image is {_range(towards)}:"
        f" {relation}."
    )


def _adjointness(study: Study) -> str:
    gaps = _known(study, "adjointness", "random")
    used = _known(study, "adjointness", "in_use")
    if not gaps:
        return _NOTHING
    if max(_values([*gaps, *used])) < _NEAR:
        return f"Φᵀ is the adjoint of Φ's derivative, to within 5 %, {_every(gaps, study)}."
    words = (
        f"Over random directions the gap is {_range(gaps)}; 0 would be"
        f" an adjoint pair, unrelated operators of one size have about {_UNRELATED_GAP}."
    )
    if used:
        words += f" Along the residuals met in use it is {_range(used)}."
    return words


def _steps(study: Study) -> str:
    sizes = _known(study, "step", "step_size")
    products = _known(study, "step", "product")
    if len(sizes) == len(study.stages) and not any(_values(sizes)):
        return "Every ρ is 0: there are no steps."
    if not products:
        return _NOTHING
    settled = _settled(study, "step", "converged")
    # L is the square of what the bound is for.
    certain = operators.BOUND / (1 + operators.TOLERANCE) ** 2
    inside = [k for k, product in products if 0 < product < certain and k in settled]
    # The values come from below, so that what is too large stays so.
    outside = [k for k, product in products if not 0 < product < operators.BOUND]
    words = (
        f"ρL lies {_range(products)}, within the classical bounds 0 and 2"
        f" {_in(len(inside), products, study)}{_undecided(products, inside, outside)}."
    )
    if open_ends := [k for k, _ in products if k not in settled]:
        words += (
            f" In {_stages(open_ends)} the iteration for L had not settled: read at least, of L"
            " and of the size of ρL."
        )
    if uphill := [k for k, size in sizes if size < 0]:
        words += f" In {_stages(uphill)} ρ is negative."
    return words


def _contraction(study: Study) -> str:
    parts = [_stretch(study), _symmetry(study)]
    return " ".join(part for part in parts if part) or _NOTHING


def _stretch(study: Study) -> str:
    images = _known(study, "contraction", "image")
    if not images:
        return ""
    settled = _settled(study, "contraction", "image_converged")
    limit = 1 / (1 + stages.TOLERANCE)
    within = [k for k, value in images if value < limit and k in settled]
    beyond = [k for k, value in images if value >= 1]  # the values come from below
    words = (
        f"With the memory held, the largest stretch of a change of the estimate is"
        f" {_range(images)} on this crop of {_crop(study)} pixels, and below 1, a contraction,"
        f" {_in(len(within), images, study)}{_undecided(images, within, beyond)}."
    )
    if open_ends := [k for k, _ in images if k not in settled]:
        words += f" In {_stages(open_ends)} the iteration had not settled: read at least."
    states = _known(study, "contraction", "state")
    settled = _settled(study, "contraction", "state_converged")
    if open_ends := [k for k, _ in states if k not in settled]:
        words += f" For image and memory together it had not settled in {_stages(open_ends)}."
    return words


def _symmetry(study: Study) -> str:
    gaps = _known(study, "contraction", "symmetry_gap")
    if not gaps:
        return ""
    if max(_values(gaps)) < _NEAR:
        words = f"The proximal maps' Jacobians are symmetric to within 5 % {_every(gaps, study)}"
    else:
        words = (
            f"The proximal maps' Jacobians have symmetry gaps {_range(gaps)}, those of true"
            " proximal maps none"
        )
    negative = [s["stage"] for s in study.stages if s["contraction"]["negative"]]
    if negative:
        return (
            f"{words}; in {_stages(negative)} a direction was met that is turned by more than 90°,"
            f" so {_verb(negative, 'it is', 'they are')} not positive semi-definite."
        )
    return f"{words}; no probe showed that one is not positive semi-definite."


def _depth(study: Study) -> str:
    depth: dict[str, Any] = study.depth or {}
    words = _course(depth["change"])
    if depth["diverged_at"] is not None:
        words = (
            f"The iteration counts as diverged: after n = {depth['diverged_at']} the estimate is"
            " not finite or at least ten times as large as before the iteration."
        )
    psnr, trained = depth.get("psnr_result", []), depth["trained"]
    known = [(value, n) for n, value in enumerate(psnr, 1) if value is not None]
    if trained > len(psnr) or psnr[trained - 1] is None:
        return words
    best, at = max(known)
    own = f"{trained} middle stage{'' if trained == 1 else 's'}"
    words += f" With the network's own {own} the result has {_decibel(psnr[trained - 1])},"
    words += f" the best of all depths {_decibel(best)} with {at}"
    return words + ("." if psnr[-1] is None else f", the deepest {_decibel(psnr[-1])}.")


def _course(changes: Sequence[float]) -> str:
    first, last = changes[0], changes[-1]
    over = f"Over {ITERATIONS} iterations"
    if not (math.isfinite(first) and math.isfinite(last)):
        return f"{over} the changes of the estimates do not stay finite."
    if not any(changes):
        return f"{over} the estimates do not change at all."
    if last > first:
        course = "do not settle"
    else:
        course = "settle" if last < 0.1 * first else "settle slowly or not at all"
    return f"{over} the estimates {course}: the first changes them by {first:.2g}, the last by" + (
        f" {last:.2g}."
    )


def _flow(study: Study) -> str:
    whose = "summed over the stages" if study.loss_stages == "all" else "of the last stage"
    words = f"L is the loss {study.loss}, {whose}."
    norms = dict(_known(study, "flow", "estimate"))
    first, last = norms.get(1), norms.get(len(study.stages))
    if first is None or not last:
        return f"{words} {_NOTHING}"
    size = f"{first / last:.2g}"
    way = "grows to" if first > last else "shrinks to"
    course = "stays about as large" if size == "1" else f"{way} {size} times its size"
    words += f" On its way from the last stage back to the first, ‖∂L/∂x‖ {course}."
    cosines = study.flow_cosines
    if cosines is None:
        return words
    count = len(cosines)
    pairs = [cosines[i, j].item() for i in range(count) for j in range(i)]
    known = [value for value in pairs if math.isfinite(value)]
    words += f" The gradients that the {count} uses of the shared weights contribute have"
    if not known:
        return f"{words} no cosines: they are zero or not finite."
    if len(pairs) == 1:
        return f"{words} a cosine of {pairs[0]:.2f}."
    against = sum(value < 0 for value in known)
    agree = f"{against} of {len(known)} {'is' if against == 1 else 'are'} negative"
    if not against:
        agree = "no two pull against each other"
    if len(known) < len(pairs):
        agree += f"; {len(pairs) - len(known)} more are not finite, or of a gradient that is zero"
    return f"{words} cosines between {min(known):.2f} and {max(known):.2f}: {agree}."


def _attribution(study: Study) -> str:
    half = _known(study, "attribution", "radius_50")
    most = _known(study, "attribution", "radius_95")
    if not (half and most):
        words = "The derivatives of the patch are zero or not finite: there is nothing to show."
    else:
        (first, inner), (last, outer) = half[0], half[-1]
        words = (
            f"Half of what the patch depends on lies within {inner:.0f} px of its centre in"
            f" stage {first} and within {outer:.0f} in stage {last}, 95 % within"
            f" {most[0][1]:.0f} and {most[-1][1]:.0f}."
        )
    explained = study.explained
    if explained is None:
        return words
    reach = _reach(explained)
    limited = [k for k, radius in most if radius >= reach]
    if limited:
        words += (
            f" In {_stages(limited)} the 95 % reach the border of the crop, {reach:g} px away,"
            " and are limited by it."
        )
    if not math.isfinite(explained.error):
        return (
            f"{words} The patch's mean is the same for the blurred picture, or not finite: the"
            " integrated gradients have nothing to explain."
        )
    return (
        f"{words} The integrated gradients miss {100 * explained.error:.1f} % of the difference"
        " that they explain, that of the patch's mean between the blurred picture and the sharp"
        " one."
    )


def _reach(explained: Explained) -> float:
    """From the patch's centre to the nearest pixel on the crop's border, pixels."""
    row, column = explained.patch.centre
    crop = explained.crop
    return min(row, column, crop.height - 1 - row, crop.width - 1 - column)


def _crop(study: Study) -> str:
    crop = study.region if study.explained is None else study.explained.crop
    return f"{crop.width}×{crop.height}"


def _known(study: Study, *names: str) -> Pairs:
    """Every stage that has a number, and the number."""
    found = []
    for stage in study.stages:
        value: Any = stage
        for name in names:
            value = value.get(name)
        if value is not None:
            found.append((stage["stage"], value))
    return found


def _settled(study: Study, group: str, name: str) -> set[int]:
    return {stage["stage"] for stage in study.stages if stage[group][name]}


def _values(pairs: Pairs) -> list[float]:
    return [value for _, value in pairs]


def _range(pairs: Pairs, begin: str = "between", end: str = "and") -> str:
    values = _values(pairs)
    return f"{begin} {_short(min(values))} {end} {_short(max(values))}"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1e4 else f"{value:.2g}"


def _decibel(psnr: float) -> str:
    return f"{psnr:.2f} dB" if math.isfinite(psnr) else "no error"


def _in(count: int, pairs: Pairs, study: Study) -> str:
    """In how many of the stages that have a number."""
    if len(pairs) == len(study.stages):
        return f"in {count} of {len(pairs)} stages"
    return f"in {count} of {_having(pairs)}"


def _every(pairs: Pairs, study: Study) -> str:
    if len(pairs) == len(study.stages):
        return "in every stage"
    return f"in the {_having(pairs)}, of {len(study.stages)}"


def _having(pairs: Pairs) -> str:
    return f"{len(pairs)} {_verb(pairs, 'stage that has one', 'stages that have one')}"


def _where(stages: Sequence[int], study: Study) -> str:
    return "in every stage" if len(stages) == len(study.stages) else f"in {_stages(stages)}"


def _undecided(pairs: Pairs, *decided: Sequence[int]) -> str:
    rest = [k for k, _ in pairs if not any(k in stages for stages in decided)]
    return f"; undecided in {_stages(rest)}" if rest else ""


def _differences(values: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(values)]


def _stages(numbers: Iterable[int]) -> str:
    names = [str(number) for number in numbers]
    if len(names) == 1:
        return f"stage {names[0]}"
    return f"stages {', '.join(names[:-1])} and {names[-1]}"


def _verb(numbers: Sequence[Any], one: str, several: str) -> str:
    return one if len(numbers) == 1 else several
