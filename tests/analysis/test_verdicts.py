"""Verdicts are true of the numbers of a study, whichever these are."""

import re

import numpy as np
import pytest

from dgunet_jax.analysis.report import SECTIONS
from tests.analysis.studies import NUMBERS, SENSING, depth, made

NAN = np.nan


def verdicts(study):
    return {
        section.name: section.verdict(measured, study)
        for section in SECTIONS
        if (measured := section.measured(study)) is not None
    }


def said(section, *count, **numbers):
    return verdicts(made(*count, **numbers))[section]


def test_progress_names_the_stage_that_helps_and_those_that_harm():
    words = said("progress", psnr_x=[24, 27.5, 27.25], residual=[0.2, 0.1, 0.05])
    assert (
        "PSNR goes from 20.00 dB (the input) to 27.25 dB; stage 1 brings the most, +4.00" in words
    )
    assert "; it falls in stage 3. The residual ‖Φₖ(xₖ₋₁) − y‖ that a stage starts from is" in words
    assert "0.2 in stage 1 and 0.05 in stage 3 (root mean square)." in words
    words = said("progress", 2, psnr_x=[19, 18])
    assert "brings" not in words and "it falls in every stage" in words
    assert "there is no PSNR" in said("progress", clean=False)
    words = said("progress", 2, psnr_x=[24, 26], network=SENSING)
    assert "from 24.00 dB (after stage 1) to 26.00 dB; stage 2 brings the most, +2.00 dB." in words
    assert "to inf dB; stage 2 brings" in said("progress", 2, psnr_x=[24, np.inf])
    assert "from inf dB (the input) to 25.00 dB; it falls in" in said("progress", given=np.inf)


@pytest.mark.parametrize(
    ("gradient", "proximal", "words"),
    [
        (
            1,
            2,
            "In every stage the proximal step moves the estimate further than the gradient step",
        ),
        (
            3,
            2,
            "In every stage the gradient step moves the estimate further than the proximal step",
        ),
        ([3, 1, 3], 2, "In stages 1 and 3 the gradient step moves the estimate further than the"),
        (2, 2, "In every stage the two steps move the estimate equally far."),
        ([3, 2, NAN], 2, "than the proximal step; in stage 2 the two steps move the estimate equa"),
        ([NAN, 0, 0], 2, "In stages 2 and 3 the proximal step moves the estimate further"),
        (NAN, 2, "nothing to compare"),
    ],
)
def test_moves_compare_the_two_steps(gradient, proximal, words):
    assert words in said("moves", gradient_move=gradient, proximal_move=proximal, change=5)


def test_moves_that_undo_each_other():
    # Half of the smaller move is 0.02.
    assert "in stages 1 and 3 the two steps largely undo each other" in said(
        "moves", change=[0.01, 0.03, 0.01]
    )
    assert "undo" not in said("moves", change=0.03)


def test_a_network_without_gradient_steps_has_no_operators():
    words = verdicts(made(network={"degradation": "none"}, depth=depth(residual=None)))
    assert [*words] == [
        *("stages", "progress", "moves", "contraction", "depth", "flow", "attribution")
    ]
    assert not any("Φ" in each for each in words.values())
    assert words["moves"] == "There is no gradient step: the proximal steps do all the work."
    unknown = made(network={"degradation": "none"}, clean=False, quick=True)
    assert [*verdicts(unknown)] == ["stages", "moves"]


def test_gradient_counts_the_stages():
    words = said(
        "gradient",
        cosine=[-0.25, 0.75, 0.5],
        data_ratio=[1.2, 0.8, 0.8],
        towards_clean=[-0.5, 0.3, 0.3],
    )
    assert "cosines between -0.25 and 0.75 with the gradient" in words
    assert "−ρ g is a descent direction in 2 of 3 stages." in words
    assert "The step lowers the data term in 2 of 3 stages." in words
    assert "between -0.50 and 0.30: it points towards the clean image in 2 of 3" in words
    assert "next to no relation with it." in said("gradient", towards_clean=[-0.09, 0.05, 0])
    uphill = said("gradient", step_size=[-0.5, 0.5, 0.5], cosine=[0.5, 0.5, NAN])
    assert "−ρ g is a descent direction in 1 of 3 stages; unknown in stage 3." in uphill


def test_a_true_gradient_is_called_one():
    assert said("gradient", relative_error=1e-5, cosine=1).startswith(
        "Φᵀ(Φ(x) − y) is the gradient of the data term in every stage; −ρ g is a descent"
    )
    words = said("gradient", 2, relative_error=[NAN, 1e-5], cosine=[NAN, 1.0])
    assert "the data term in 1 of 2 stages; unknown in stage 1; −ρ" in words


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("gradient", ("cosine", "relative_error", "data_ratio")),
        ("adjointness", ("random", "in_use")),
        ("steps", ("product",)),
        ("contraction", ("image", "symmetry_gap")),
        ("flow", ("estimates",)),
    ],
)
def test_nothing_to_compare(section, names):
    assert "there is nothing to compare" in said(section, **dict.fromkeys(names, NAN))


def test_adjointness_beside_unrelated_operators():
    words = said("adjointness", 2, random=[0.3, 0.5], in_use=[0.25, 0.01])
    assert "gap is between 0.30 and 0.50" in words and "it is between 0.01 and 0.25" in words
    assert "is the adjoint of Φ's derivative, to within 5 %, in every stage." in said(
        "adjointness", random=0.01, in_use=0.02
    )
    a, b = np.random.default_rng(0).standard_normal((2, 10**6))
    gap = np.mean(np.abs(a - b) / (np.abs(a) + np.abs(b)))
    assert f"about {gap:.2f}" in said("adjointness")


def test_steps_within_and_beyond_the_bounds():
    words = said("steps", product=[-0.5, 2.5, 1.0], step_size=[-0.3, 0.5, 0.5])
    assert "ρL lies between -0.50 and 2.50, within the classical bounds 0 and 2 in 1 of 3" in words
    assert "In stage 1 ρ is negative." in words
    assert "negative" not in said("steps")
    words = said("steps", 4, product=[1.9, 2.5, 1.9999, NAN], converged=[False, False, True, True])
    assert "in 0 of 4 stages; unknown in stage 4; undecided in stages 1 and 3." in words
    assert "In stages 1 and 2 the iteration had not settled: read at least" in words


def test_contraction_counts_what_contracts():
    words = said(
        "contraction",
        image=[1.5, 0.9, 0.9],
        image_converged=[False, True, True],
        negative=[False, True, False],
        symmetry_gap=[0.2, 0.2, 0.4],
    )
    assert "between 0.90 and 1.50 on this crop, and below 1, a contraction, in 2 of 3" in words
    assert "In stage 1 the iteration had not settled" in words
    assert "symmetry gaps between 0.20 and 0.40" in words
    assert "in stage 2 a probe was turned by more than 90°, so that it is not positive" in words
    words = said("contraction", symmetry_gap=0.01)
    assert "are symmetric to within 5 % in every stage; no probe was turned" in words
    words = said("contraction", image=[0.5, 0.98, NAN], image_converged=[False, True, True])
    assert "in 0 of 3 stages; unknown in stage 3; undecided in stages 1 and 2." in words


def test_depth():
    words = said("depth", depth=depth())
    assert "the estimates settle: the first changes them by 0.08, the last by 1.4e-06." in words
    assert "With the network's own n = 5 the result has 29.96 dB, the best of all" in words
    assert "the best of all depths 30.00 dB with 3, the deepest 29.06 dB." in words
    assert "do not settle" in said("depth", depth=depth(change=np.linspace(0.1, 0.5, 50)))
    assert "settle slowly" in said("depth", depth=depth(change=np.full(50, 0.1)))
    assert "estimates settle:" in said("depth", depth=depth(change=np.zeros(50)))
    psnr = np.array([30.0] * 6 + [NAN] * 44)
    lost = said("depth", depth=depth(diverged_at=7, psnr_result=psnr))
    assert lost.startswith("The iteration counts as diverged: after n = 7 the estimate is not")
    assert lost.endswith("the best of all depths 30.00 dB with 1.")
    assert "dB" not in said("depth", depth=depth(psnr=None, psnr_result=None))


def test_flow_grows_or_shrinks_and_counts_the_cosines():
    cosines = np.array([[1, 0.5, -0.25], [0.5, 1, NAN], [-0.25, NAN, 1]])
    words = said("flow", estimates=[0.03, 0.01, 0.01], cosines=cosines)
    assert words.startswith("L is the loss clamped_charbonnier, summed over the stages.")
    assert "‖∂L/∂x‖ grows to 3 times its size" in words
    assert "the 3 uses" in words and "between -0.25 and 0.50 (1 of 2 negative)." in words
    last = said("flow", estimates=[0.005, 0.01, 0.01], fields={"loss_stages": "last"})
    assert "clamped_charbonnier, of the last stage." in last
    assert last.endswith("‖∂L/∂x‖ shrinks to 0.5 times its size.")
    nothing = said("flow", cosines=np.full((2, 2), NAN))
    assert nothing.endswith("The gradients of the shared weights are zero or not finite.")


def test_attribution():
    words = said("attribution", radius_50=[2, 1, 1], radius_95=[2, 2, 2.9])
    assert "within 2 px of its centre in stage 1 and within 1 in stage 3" in words
    assert "95 % within 2 and 3." in words and "limited" not in words
    assert "miss 3.1 % of what they explain" in words
    wide = said("attribution", radius_95=[2, 3.5, 2])
    assert "In stage 2 the 95 % reach the border of the crop, 3.5 px away" in wide
    later = said("attribution", radius_50=[NAN, 1, 1], radius_95=[NAN, 2, 2])
    assert "within 1 px of its centre in stage 2" in later
    nothing = said("attribution", radius_50=NAN, radius_95=NAN, error=np.inf)
    assert nothing.startswith("The derivatives of the patch are zero or not finite")
    assert nothing.endswith("The integrated gradients have nothing to explain.")


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_verdicts_with_any_number_missing(missing):
    """Overflow and division by zero leave NaN, in some stages or in all."""
    for name, value in NUMBERS.items():
        if isinstance(value, bool) or name.startswith(("psnr", "ssim")):
            continue
        numbers = [NAN] * missing + [value] * (3 - missing)
        study = made(depth=depth(), cosines=np.eye(2), **{name: numbers})
        for section, words in verdicts(study).items():
            assert words.endswith(".") or section == "stages"
            assert not re.search(r"\bnan|None|\binf", words), words


def test_verdicts_of_a_quick_study_without_a_clean_image():
    assert [*verdicts(made(clean=False, quick=True))] == [
        *("stages", "progress", "moves", "gradient", "adjointness", "steps")
    ]
