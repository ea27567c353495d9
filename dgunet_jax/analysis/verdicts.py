"""Verdicts on the measures of a study, in words that thresholds choose.

Each function takes the measures of its section and the study they are from. Its words follow from
the numbers alone, any of which may be NaN.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from dgunet_jax.analysis import operators, stages
from dgunet_jax.analysis.stages import Contraction, Flow, Progress
from dgunet_jax.analysis.study import Depth, OperatorMeasures, PatchAttribution, Study

EXACT = 1e-3  # relative errors below it: the direction is the gradient
NEGLIGIBLE = 0.05  # gaps below it count as none
UNRELATED_COSINE = 0.1  # magnitudes below it: directions of images have little in common
UNRELATED_GAP = 0.72  # ½ + ln 2 / π: the mean gap of two unrelated operators of one size
UNDONE = 0.5  # of the smaller move: a change below it, and the two steps undo each other
SETTLED = 0.1  # of the first change: a last change below it, and the iteration settles

_NOTHING = "The numbers are zero or not finite: there is nothing to compare."
_NEARLY = f"to within {100 * NEGLIGIBLE:g} %"


def progress(measured: Progress, study: Study) -> str:
    words = "Without the clean image there is no PSNR."
    if study.clean is not None:
        begin = study.input_scores.psnr[0]
        psnr = study.x_scores.psnr
        first = psnr[0] if math.isnan(begin) else begin
        with np.errstate(invalid="ignore"):  # from infinity to infinity
            gains = np.diff(psnr, prepend=first)
        whose = "after stage 1" if math.isnan(begin) else "the input"
        words = f"PSNR goes from {first:.2f} dB ({whose}) to {psnr[-1]:.2f} dB"
        if np.nanmax(gains) > 0:
            best = np.nanargmax(gains)
            words += f"; stage {best + 1} brings the most, {gains[best]:+.2f} dB"
        words += f"; it falls in {_stages(gains < 0)}." if (gains < 0).any() else "."
    known = np.flatnonzero(np.isfinite(measured.residual))
    if not known.size:
        return words
    shown = [f"{measured.residual[k]:.2g} in stage {k + 1}" for k in sorted({*known[[0, -1]]})]
    return (
        f"{words} The residual ‖Φₖ(xₖ₋₁) − y‖ that a stage starts from is {' and '.join(shown)}"
        " (root mean square)."
    )


def moves(measured: Progress, study: Study) -> str:
    gradient, proximal = measured.gradient_move, measured.proximal_move
    if study.operators is None:
        return "There is no gradient step: the proximal steps do all the work."
    relations = {
        "the gradient step moves the estimate further than the proximal step": gradient > proximal,
        "the proximal step moves the estimate further than the gradient step": gradient < proximal,
        "the two steps move the estimate equally far": gradient == proximal,
    }
    parts = [f"in {_stages(holds)} {words}" for words, holds in relations.items() if holds.any()]
    if not parts:
        return _NOTHING
    undone = measured.change < UNDONE * np.minimum(gradient, proximal)
    if undone.any():
        parts.append(
            f"in {_stages(undone)} the two steps largely undo each other, as the estimate changes"
            " by less than half of either"
        )
    return f"{'; '.join(parts).capitalize()}."


def gradient(measured: OperatorMeasures, study: Study) -> str:
    found, sizes = measured.gradient, measured.step.step_size
    if not np.isfinite(found.cosine).any() or not np.isfinite(found.relative_error).any():
        return _NOTHING
    words = (
        f"The direction g = Φᵀ(Φ(x) − y) has cosines {_range(found.cosine)} with the gradient of"
        " its data term"
    )
    if np.nanmax(found.relative_error) < EXACT:
        where = _in(found.relative_error < EXACT, found.relative_error)
        words = f"Φᵀ(Φ(x) − y) is the gradient of the data term {where}"
    slopes = found.cosine * sizes
    words += f"; −ρ g is a descent direction {_in(slopes > 0, slopes)}."
    if np.isfinite(found.data_ratio).any():
        words += f" The step lowers the data term {_in(found.data_ratio < 1, found.data_ratio)}."
    towards = found.towards_clean
    if towards is None or not np.isfinite(towards).any():
        return words
    relation = f"it points towards the clean image {_in(towards > 0, towards)}"
    if np.nanmax(np.abs(towards)) < UNRELATED_COSINE:
        relation = "next to no relation with it"
    return (
        f"{words} The cosine of the step with the way to the clean image is {_range(towards)}:"
        f" {relation}."
    )


def adjointness(measured: OperatorMeasures, study: Study) -> str:
    gaps, used = measured.adjointness.random, measured.adjointness.in_use
    if not np.isfinite(gaps).any():
        return _NOTHING
    if np.nanmax(np.stack([gaps, used])) < EXACT:
        return f"Φᵀ is the adjoint of Φ, to rounding, {_in(gaps < EXACT, gaps)}."
    if np.nanmax(np.stack([gaps, used])) < NEGLIGIBLE:
        where = _in(gaps < NEGLIGIBLE, gaps)
        return f"Φᵀ is the adjoint of Φ's derivative, {_NEARLY}, {where}."
    words = (
        f"Over random directions the gap is {_range(gaps)}; 0 would be an adjoint pair, unrelated"
        f" operators of one size have about {UNRELATED_GAP}."
    )
    if np.isfinite(used).any():
        words += f" Along the residuals met in use it is {_range(used)}."
    return words


def steps(measured: OperatorMeasures, study: Study) -> str:
    sizes, products = measured.step.step_size, measured.step.product
    settled = measured.step.converged
    if not np.isfinite(products).any():
        return _NOTHING
    # L approaches its limit from below; the bound on the error is that of √L.
    certain = operators.BOUND / (1 + operators.TOLERANCE) ** 2
    inside = (products > 0) & (products < certain) & settled
    outside = (products <= 0) | (products >= operators.BOUND)
    words = (
        f"ρL lies {_range(products)}, within the classical bounds 0 and {operators.BOUND:g}"
        f" {_in(inside, products, inside | outside)}.{_unsettled(products, settled)}"
    )
    return words + (f" In {_stages(sizes < 0)} ρ is negative." if (sizes < 0).any() else "")


def contraction(measured: Contraction, study: Study) -> str:
    parts = []
    if np.isfinite(measured.image).any():
        image, settled = measured.image, measured.image_converged
        within = (image < 1 / (1 + stages.TOLERANCE)) & settled
        # Values approach the norm from below, so that one above 1 is certain.
        parts.append(
            "With the memory held, the largest stretch of a change of the estimate is"
            f" {_range(image)} on this crop, and below 1, a contraction,"
            f" {_in(within, image, within | (image >= 1))}.{_unsettled(image, settled)}"
        )
    gaps, negative = measured.symmetry_gap, measured.negative
    if np.isfinite(gaps).any():
        words = f"have symmetry gaps {_range(gaps)} (true proximal maps: none)"
        if np.nanmax(gaps) < NEGLIGIBLE:
            words = f"are symmetric {_NEARLY} {_in(gaps < NEGLIGIBLE, gaps)}"
        turned = "no probe was turned by more than 90°"
        if negative.any():
            turned = (
                f"in {_stages(negative)} a probe was turned by more than 90°, so that it is not"
                " positive semi-definite"
            )
        parts.append(f"The proximal maps' Jacobians {words}; {turned}.")
    return " ".join(parts) or _NOTHING


def depth(measured: Depth, study: Study) -> str:
    words, psnr, trained = _course(measured), measured.psnr_result, measured.trained
    if psnr is None or trained > len(psnr) or math.isnan(psnr[trained - 1]):
        return words
    best = int(np.nanargmax(psnr))
    words += (
        f" With the network's own n = {trained} the result has {psnr[trained - 1]:.2f} dB, the best"
        f" of all depths {psnr[best]:.2f} dB with {best + 1}"
    )
    return words + ("." if math.isnan(psnr[-1]) else f", the deepest {psnr[-1]:.2f} dB.")


def _course(measured: Depth) -> str:
    if measured.diverged_at is not None:
        return (
            f"The iteration counts as diverged: after n = {measured.diverged_at} the estimate is"
            f" not finite or at least {stages.DIVERGED:g} times as large as before the iteration."
        )
    first, last = measured.change[[0, -1]]
    course = "settle slowly or not at all"
    if math.isnan(first + last) or last > first:
        course = "do not settle"
    elif last < SETTLED * first or last == 0:
        course = "settle"
    return (
        f"Over {len(measured.change)} iterations the estimates {course}: the first changes them by"
        f" {_short(first)}, the last by {_short(last)}."
    )


def flow(measured: Flow, study: Study) -> str:
    whose = "summed over the stages" if study.loss_stages == "all" else "of the last stage"
    words = f"L is the loss {study.loss}, {whose}."
    first, last = np.asarray(measured.estimates)[[0, -1]]
    if math.isnan(first + last) or not last:
        return f"{words} {_NOTHING}"
    way = "grows to" if first > last else "shrinks to"
    words += (
        f" On its way from the last stage back to the first, ‖∂L/∂x‖ {way} {first / last:.2g} times"
        " its size."
    )
    if measured.cosines is None:
        return words
    pairs = np.asarray(measured.cosines)[np.tril_indices(len(measured.cosines), -1)]
    if not np.isfinite(pairs).any():
        return f"{words} The gradients of the shared weights are zero or not finite."
    return (
        f"{words} The gradients that the {len(measured.cosines)} uses of the shared weights"
        f" contribute have cosines {_range(pairs)} ({np.sum(pairs < 0)} of"
        f" {np.isfinite(pairs).sum()} negative)."
    )


def attribution(measured: PatchAttribution, study: Study) -> str:
    radii, error = measured.radii, measured.error
    words = "The derivatives of the patch are zero or not finite: there is nothing to show."
    known = np.flatnonzero(np.isfinite(radii).all(axis=1))
    if known.size:
        (half, most), (last_half, last_most) = radii[known[[0, -1]]]
        words = (
            f"Half of what the patch depends on lies within {half:.0f} px of its centre in stage"
            f" {known[0] + 1} and within {last_half:.0f} in stage {known[-1] + 1}, 95 % within"
            f" {most:.0f} and {last_most:.0f}."
        )
    row, column = measured.patch.centre
    reach = min(row, column, measured.crop.height - 1 - row, measured.crop.width - 1 - column)
    if (limited := radii[:, 1] >= reach).any():
        words += (
            f" In {_stages(limited)} the 95 % reach the border of the crop, {reach:g} px away, and"
            " are limited by it."
        )
    if not math.isfinite(error):
        return f"{words} The integrated gradients have nothing to explain."
    return (
        f"{words} The integrated gradients miss {100 * error:.1f} % of what they explain, the"
        " difference of the patch's mean between the blurred image and the sharp one."
    )


def _stages(holds: ArrayLike) -> str:
    """Return "every stage", "stage 2", or "stages 1, 2 and 4"."""
    if np.all(holds):
        return "every stage"
    *others, last = map(str, np.flatnonzero(holds) + 1)
    return f"stages {', '.join(others)} and {last}" if others else f"stage {last}"


def _in(holds: ArrayLike, numbers: ArrayLike, decided: ArrayLike = True) -> str:
    """Return the stages in which something holds, in words, with the unknown and undecided ones."""
    if np.all(holds):
        return "in every stage"
    words = f"in {np.sum(holds)} of {np.size(holds)} stages"
    unknown = ~np.isfinite(numbers)
    undecided = ~unknown & np.logical_not(decided)
    words += f"; unknown in {_stages(unknown)}" if unknown.any() else ""
    return words + (f"; undecided in {_stages(undecided)}" if undecided.any() else "")


def _unsettled(numbers: ArrayLike, settled: ArrayLike) -> str:
    ends = np.isfinite(numbers) & np.logical_not(settled)
    if not ends.any():
        return ""
    return f" In {_stages(ends)} the iteration had not settled: read at least, of magnitudes."


def _range(numbers: ArrayLike) -> str:
    low, high = _short(np.nanmin(numbers)), _short(np.nanmax(numbers))
    return f"at {low}" if low == high else f"between {low} and {high}"


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e4 or value == 0 else f"{value:.2g}"
