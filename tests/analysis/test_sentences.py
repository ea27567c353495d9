"""The sentences of a report are true of its numbers, whichever these are."""

import dataclasses
import re

import numpy as np
import pytest

from dgunet_jax.analysis.sentences import sentences
from tests.analysis.studies import SENSING, depth, made


def said(name, *changes, **more):
    return sentences(made(*(changes or ({}, {}, {})), **more))[name]


def test_progress_names_the_stage_that_helps_and_those_that_harm():
    words = said("progress", {"psnr_x": 24}, {"psnr_x": 27.5}, {"psnr_x": 27.25, "residual": 0.05})
    assert "PSNR goes from 20.00 dB, the input's, to 27.25 dB" in words
    assert "stage 1 brings the most, +4.00 dB; stage 3 lowers it." in words
    assert "‖Φₖ(xₖ₋₁) − y‖ that a stage starts from is 0.2 in stage 1 and 0.05 in stage 3" in words
    words = said("progress", {"psnr_x": 19}, {"psnr_x": 18}, {"psnr_x": 21})
    assert "stage 3 brings the most, +3.00 dB; stages 1 and 2 lower it." in words
    words = said("progress", {"psnr_x": 19}, {"psnr_x": 18})
    assert "brings the most" not in words
    assert "stages 1 and 2 lower it" in words


def test_progress_without_a_clean_picture_or_an_input_that_is_none():
    assert "Without the clean image there is no PSNR." in said("progress", clean=False)
    words = said("progress", {"psnr_x": 24}, {"psnr_x": 26}, input=None)
    assert "from 24.00 dB after stage 1 to 26.00 dB; stage 2 brings the most, +2.00 dB." in words


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({}, "the first and the last stage with a Φ of their own, the others with a shared one."),
        ({"share_middle": False}, "each stage with its own Φ."),
        ({"degradation": "identity"}, "all with the same Φ."),
        (SENSING, "all with the same Φ."),
    ],
)
def test_residuals_are_those_of_the_network_s_operators(network, words):
    assert said("progress", {}, {}, {}, {}, network=network).endswith(words)
    assert said("progress", {}, {}, {}, network={}).endswith("each stage with its own Φ.")


def test_pictures_without_any_error():
    words = said("progress", {"psnr_x": 24}, {"psnr_x": np.inf})
    assert words.startswith("PSNR is infinite where an image is the clean one: x2.")
    exact = {"psnr": np.inf, "ssim": 1.0}
    assert "is the clean one: the input." in said("progress", input=exact)


@pytest.mark.parametrize(
    ("gradient", "proximal", "words"),
    [
        ((1, 1, 1), (2, 2, 2), "The proximal step moves the estimate further than the gradient"),
        ((3, 3, 3), (2, 2, 2), "The gradient step moves the estimate further than the proximal"),
        ((3, 1, 3), (2, 2, 2), "further than the proximal step in stages 1 and 3; the proximal"),
        ((2, 2, 2), (2, 2, 2), "The two steps move it equally far in every stage."),
        ((3, 2, None), (2, 2, 2), "proximal step in stage 1; the two steps move it equally far in"),
        ((0, 0, 0), (2, 2, 2), "The gradient steps move nothing: the proximal steps do all the"),
        ((0, 0, 0), (0, 0, 0), "The two steps move it equally far in every stage."),
        (
            (0, None),
            (2, 2),
            "The proximal step moves the estimate further than the gradient step in",
        ),
        ((None, None), (2, 2), "nothing to compare"),
    ],
)
def test_moves(gradient, proximal, words):
    changes = [
        {"gradient_move": g, "proximal_move": p, "change": 5}
        for g, p in zip(gradient, proximal, strict=True)
    ]
    assert words in said("moves", *changes)


def test_moves_that_undo_each_other():
    small, large = {"change": 0.01}, {"change": 0.03}  # half of the smaller move is 0.02
    assert "In stages 1 and 3 the two steps largely undo each other" in said(
        "moves", small, large, small
    )
    assert "undo" not in said("moves", large, large)


def test_a_network_without_gradient_steps_has_no_operators():
    study = made({}, {}, {}, network={"degradation": "none"}, depth=depth(residual=None))
    words = sentences(study)
    assert [*words] == ["progress", "moves", "contraction", "depth", "flow", "attribution"]
    assert not any("Φ" in each for each in words.values())
    assert words["moves"].startswith("There is no gradient step: the proximal steps do all")
    unknown = made({}, {}, {}, network={"degradation": "none"}, clean=False, quick=True)
    assert [*sentences(unknown)] == ["moves"]


def test_gradient_counts_the_stages():
    words = said(
        "gradient",
        {"gradient__cosine": -0.25, "gradient__data_ratio": 1.2, "gradient__towards_clean": -0.5},
        {"gradient__cosine": 0.75},
        {},
    )
    assert "cosines from -0.25 to 0.75 with the gradient" in words
    assert "−ρ g is a descent direction in 2 of 3 stages" in words
    assert "The step lowers the data term in 2 of 3 stages." in words
    assert "between -0.50 and 0.30: it points towards the clean image in 2 of 3" in words
    assert "negative" not in words
    uphill = said("gradient", {"step__step_size": -0.5}, {}, {"gradient__cosine": None})
    assert "−ρ g is a descent direction in 1 of 2 stages that have one." in uphill
    assert "In stage 1 ρ is negative: the step goes along g, not against it." in uphill


def test_a_true_gradient_is_called_one():
    exact = {"gradient__relative_error": 1e-5, "gradient__cosine": 1.0}
    words = said("gradient", exact, exact)
    assert words.startswith("Φᵀ(Φ(x) − y) is the gradient of the data term in every stage")
    words = said("gradient", dict.fromkeys(exact), exact)
    assert "the data term in the 1 stage that has one, of 2" in words


def test_nothing_to_compare():
    nothing = dict.fromkeys(
        ("gradient__cosine", "gradient__relative_error", "gradient__data_ratio")
    )
    assert "nothing to compare" in said("gradient", nothing, nothing)
    still = {"step__step_size": 0.0, "step__product": 0.0}
    assert said("gradient", still, still).startswith("Every ρ is 0")
    assert said("steps", still, still) == "Every ρ is 0: there are no steps."
    zero = {"flow__estimate": 0.0}
    assert "nothing to compare" in said("flow", zero, zero)
    lost = {"adjointness__random": None, "adjointness__in_use": None}
    assert "nothing to compare" in said("adjointness", lost, lost)
    none = {"contraction__image": None, "contraction__symmetry_gap": None}
    assert "nothing to compare" in said("contraction", none, none)


def test_adjointness():
    words = said("adjointness", {"adjointness__random": 0.3}, {"adjointness__in_use": 0.01})
    assert "gap is between 0.30 and 0.50" in words
    assert "in use it is between 0.01 and 0.25" in words
    tight = {"adjointness__random": 0.01, "adjointness__in_use": 0.02}
    assert "is the adjoint of Φ's derivative" in said("adjointness", tight, tight)


def test_unrelated_operators_have_the_gap_that_is_claimed():
    a, b = np.random.default_rng(0).standard_normal((2, 10**6))
    gap = np.mean(np.abs(a - b) / (np.abs(a) + np.abs(b)))
    assert f"about {gap:.2f}" in said("adjointness")


def test_steps_within_and_beyond_the_bounds():
    uphill = {"step__product": -0.5, "step__step_size": -0.3}
    words = said("steps", uphill, {"step__product": 2.5}, {"step__product": 1.0})
    assert "ρL lies between -0.50 and 2.50, within the classical bounds 0 and 2 in 1 of 3" in words
    assert "In stage 1 ρ is negative." in words
    assert "negative" not in said("steps")


def test_steps_that_are_not_certain():
    words = said(
        "steps",
        {"step__product": 1.9, "step__converged": False},
        {"step__product": 2.5, "step__converged": False},
        {"step__product": 1.9999},
        {"step__product": None},
    )
    assert "in 0 of 3 stages that have one; undecided in stages 1 and 3." in words
    assert "In stages 1 and 2 the iteration for L had not settled: read at least" in words


def test_contraction_counts_what_contracts():
    words = said(
        "contraction",
        {"contraction__image": 1.5, "contraction__image_converged": False},
        {"contraction__lowest_quotient": -0.1, "contraction__negative": True},
        {"contraction__symmetry_gap": 0.4},
    )
    assert "between 0.90 and 1.50 on this crop of 8×8 pixels, and below 1" in words
    assert "a contraction, in 2 of 3 stages." in words
    assert "In stage 1 the iteration had not settled: read at least." in words
    assert "symmetry gaps between 0.20 and 0.40" in words
    assert "in stage 2 a direction was met that is turned by more than 90°, so it is not" in words
    quiet = {"contraction__symmetry_gap": 0.01}
    words = said("contraction", quiet, quiet)
    assert "symmetric to within 5 % in every stage; no probe showed" in words


def test_what_may_contract_is_undecided():
    words = said(
        "contraction",
        {"contraction__image": 0.5, "contraction__image_converged": False},
        {"contraction__image": 0.98},
        {"contraction__image": None},
        {"contraction__state_converged": False},
    )
    assert "a contraction, in 1 of 3 stages that have one; undecided in stages 1 and 2." in words
    assert "In stage 1 the iteration had not settled: read at least." in words
    assert "For image and memory together it had not settled in stage 4." in words


def test_stages_keep_their_numbers():
    """Where a stage before has no number."""
    first = {"contraction__image": None, "contraction__negative": None}
    second = {"contraction__negative": True, "contraction__image_converged": False}
    words = said("contraction", first, second)
    assert "undecided in stage 2. In stage 2 the iteration" in words
    assert "in stage 2 a direction was met" in words
    lost = {"step__product": None, "step__step_size": None}
    assert "In stage 2 ρ is negative." in said(
        "steps", lost, {"step__product": -1.0, "step__step_size": -1.0}, {}
    )
    gone = {"attribution__radius_50": None, "attribution__radius_95": None}
    assert "within 1 px of its centre in stage 2" in said("attribution", gone, {}, {})
    tight = {"adjointness__random": 0.01, "adjointness__in_use": None}
    words = said("adjointness", {**tight, "adjointness__random": None}, tight)
    assert "in the 1 stage that has one, of 2." in words


def test_depth():
    words = said("depth", depth=depth())
    assert "the estimates settle: the first changes them by 0.08, the last by 1.4e-06." in words
    assert "With the network's own 5 middle stages the result has 29.96 dB" in words
    assert "the best of all depths 30.00 dB with 3, the deepest 29.06 dB." in words
    growing = said("depth", depth=depth(change=np.linspace(0.1, 0.5, 50).tolist()))
    assert "do not settle" in growing
    psnr = [30.0] * 6 + [None] * 44
    lost = said("depth", depth=depth(diverged_at=7, psnr_result=psnr))
    assert lost.startswith("The iteration counts as diverged: after n = 7 the estimate is not")
    assert "the deepest" not in lost
    assert "do not change at all" in said("depth", depth=depth(change=[0.0] * 50))
    assert "do not stay finite" in said("depth", depth=depth(change=[0.1] * 49 + [np.nan]))
    assert "settle slowly" in said("depth", depth=depth(change=[0.1] * 50))
    assert "own 1 middle stage the result" in said("depth", depth=depth(trained=1))
    exact = said("depth", depth=depth(psnr_result=[30.0] * 49 + [np.inf]))
    assert exact.endswith("the best of all depths no error with 50, the deepest no error.")
    alone = depth()
    del alone["psnr"], alone["psnr_result"]
    assert "dB" not in said("depth", depth=alone)


def test_flow_says_which_way_it_grows_and_who_pulls_against_whom():
    cosines = np.array([[1, 0.5, -0.25], [0.5, 1, 0.1], [-0.25, 0.1, 1]])
    words = said(
        "flow", {"flow__estimate": 0.03}, {}, {"flow__estimate": 0.01}, flow_cosines=cosines
    )
    assert "‖∂L/∂x‖ grows to 3 times its size" in words
    assert "the 3 uses" in words
    assert "cosines between -0.25 and 0.50: 1 of 3 is negative." in words
    assert words.startswith("L is the loss clamped_charbonnier, summed over the stages.")
    last = said("flow", {}, {}, loss="charbonnier_edge", loss_stages="last")
    assert last.startswith("L is the loss charbonnier_edge, of the last stage. On its way")
    assert "stays about as large" in last
    shrinking = said("flow", {"flow__estimate": 0.005}, {})
    assert "shrinks to 0.5 times" in shrinking
    assert "uses" not in shrinking
    together = said("flow", {}, {}, flow_cosines=np.abs(cosines))
    assert "no two pull against each other" in together
    pair = said("flow", {}, {}, flow_cosines=np.array([[1, 0.5], [0.5, 1]]))
    assert pair.endswith("the 2 uses of the shared weights contribute have a cosine of 0.50.")


def test_flow_without_a_gradient():
    nan = np.full((3, 3), np.nan)
    assert "have no cosines: they are zero or not finite." in said("flow", flow_cosines=nan)
    nan[1, 0] = -0.5
    words = said("flow", flow_cosines=nan)
    assert "between -0.50 and -0.50: 1 of 1 is negative; 2 more are not finite, or" in words
    pair = said("flow", flow_cosines=np.full((2, 2), np.nan))
    assert pair.endswith("have no cosines: they are zero or not finite.")
    assert "nothing to compare" in said("flow", {"flow__estimate": None}, {})


def test_attribution():
    words = said("attribution", {"attribution__radius_50": 2.0}, {"attribution__radius_95": 2.9})
    assert "within 2 px of its centre in stage 1 and within 1 in stage 2" in words
    assert "95 % within 2 and 3." in words
    assert "miss 3.1 % of the difference that they explain" in words
    assert "limited" not in words
    wide = said("attribution", {}, {"attribution__radius_95": 3.5})
    assert "In stage 2 the 95 % reach the border of the crop, 3.5 px away" in wide


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_attribution_of_nothing(error):
    study = made({}, {})
    assert study.explained is not None
    explained = dataclasses.replace(study.explained, error=error)
    words = said("attribution", explained=explained)
    assert words.endswith("the integrated gradients have nothing to explain.")
    gone = {"attribution__radius_50": None, "attribution__radius_95": None}
    assert said("attribution", gone, gone).startswith("The derivatives of the patch are zero or")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_any_number_may_be_missing(missing):
    """Overflow and division by zero leave None, in some stages or in all."""
    groups = made({}).stages[0]
    for group, numbers in groups.items():
        names = [f"{group}__{name}" for name in numbers] if isinstance(numbers, dict) else [group]
        if group in ("stage", "psnr_v", "psnr_x", "ssim_v", "ssim_x"):
            continue
        for each in (names, *([name] for name in names)):
            changes = [dict.fromkeys(each) if k <= missing else {} for k in range(3)]
            for words in sentences(made(*changes, depth=depth(), flow_cosines=np.eye(1))).values():
                assert words.endswith(".") and not re.search("nan|None|inf( |%)", words), words


def test_there_is_a_sentence_for_every_figure_that_shows_numbers():
    whole = sentences(made({}, {}, {}, depth=depth(), flow_cosines=np.eye(2)))
    assert {*whole} == {
        *("progress", "moves", "gradient", "adjointness", "steps", "contraction"),
        *("depth", "flow", "attribution"),
    }
    assert {*sentences(made({}, {}, clean=False, quick=True))} == {
        *("progress", "moves", "gradient", "adjointness", "steps"),
    }
    for words in whole.values():
        assert words.endswith(".")
        assert "nan" not in words and "None" not in words
