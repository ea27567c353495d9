"""The sentences of a report are true of its numbers, whichever these are."""

import numpy as np
import pytest

from dgunet_jax.analysis.sentences import sentences
from tests.analysis.studies import depth, made


def said(name, *changes, **more):
    return sentences(made(*(changes or ({}, {}, {})), **more))[name]


def test_progress_names_the_stage_that_helps_and_those_that_harm():
    words = said("progress", {"psnr_x": 24}, {"psnr_x": 27.5}, {"psnr_x": 27.25, "residual": 0.05})
    assert "PSNR goes from 20.00 dB, the input's, to 27.25 dB" in words
    assert "stage 1 brings the most, +4.00 dB; stage 3 lowers it." in words
    assert "from 0.2 to 0.05" in words
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
    ("gradient", "proximal", "words"),
    [
        ((1, 1, 1), (2, 2, 2), "The proximal step moves the estimate further than the gradient"),
        ((3, 3, 3), (2, 2, 2), "The gradient step moves the estimate further than the proximal"),
        ((3, 1, 3), (2, 2, 2), "further than the proximal step in stages 1 and 3 only"),
        ((0, 0, 0), (2, 2, 2), "There is no gradient step: the proximal steps do all the work."),
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


def test_gradient_counts_the_stages():
    words = said(
        "gradient",
        {"gradient__cosine": -0.25, "gradient__data_ratio": 1.2, "gradient__towards_clean": -0.5},
        {"gradient__cosine": 0.75},
        {},
    )
    assert "cosines from -0.25 to 0.75 with the gradient" in words
    assert "it is a descent direction in 2 of 3 stages" in words
    assert "The step lowers the data term in 2 of 3 stages." in words
    assert "between -0.50 and 0.30: it points towards the clean image in 2 of 3" in words


def test_a_true_gradient_is_called_one():
    changes = [{"gradient__relative_error": 1e-5, "gradient__cosine": 1.0}] * 2
    assert said("gradient", *changes).startswith("Φᵀ(Φ(x) − y) is the gradient of the data term")


def test_nothing_to_compare():
    nothing = dict.fromkeys(
        ("gradient__cosine", "gradient__relative_error", "gradient__data_ratio")
    )
    assert "no direction to compare" in said("gradient", nothing, nothing)
    still = {"step__step_size": 0.0, "step__product": 0.0}
    assert said("gradient", still, still) == "There is no gradient step to compare with a gradient."
    assert said("steps", still, still) == "There are no step sizes."
    zero = {"flow__estimate": 0.0}
    assert "nothing to compare" in said("flow", zero, zero)
    lost = {"adjointness__random": None, "adjointness__in_use": None}
    assert "nothing to compare" in said("adjointness", lost, lost)
    assert "nothing to compare" in said("contraction", *[{"contraction__image": None}] * 2)


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
    words = said("steps", {"step__product": -0.5}, {"step__product": 2.5}, {"step__product": 1.0})
    assert "ρL lies between -0.50 and 2.50, within the classical bounds 0 and 2 in 1 of 3" in words
    assert "In stage 1 ρ is negative." in words
    assert "negative" not in said("steps")


def test_contraction_counts_what_contracts():
    words = said(
        "contraction",
        {"contraction__image": 1.5, "contraction__converged": False},
        {"contraction__lowest_quotient": -0.1},
        {"contraction__symmetry_gap": 0.4},
    )
    assert "between 0.90 and 1.50: 2 of 3 stages contract" in words
    assert "In stage 1 the iteration had not settled: read at least." in words
    assert "symmetry gaps between 0.20 and 0.40" in words
    assert "in stage 2 a direction was met that is turned round, so it is not positive" in words
    quiet = {"contraction__symmetry_gap": 0.01}
    words = said("contraction", quiet, quiet)
    assert "symmetric to within 5 %; no probe showed" in words


def test_depth():
    words = said("depth", depth=depth())
    assert "the estimates settle: the first changes them by 0.08, the last by 1.4e-06." in words
    assert "With the network's own 5 middle stages the result has 29.96 dB" in words
    assert "the best of all depths 30.00 dB with 3, the deepest 29.06 dB." in words
    growing = said("depth", depth=depth(change=np.linspace(0.1, 0.5, 50).tolist()))
    assert "do not settle" in growing
    psnr = [30.0] * 6 + [None] * 44
    lost = said("depth", depth=depth(diverged_at=7, psnr_result=psnr))
    assert lost.startswith("The iteration diverges: from n = 7 on")
    assert "the deepest" not in lost
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
    assert "cosines between -0.25 and 0.50: 1 of 3 are negative." in words
    shrinking = said("flow", {"flow__estimate": 0.005}, {})
    assert "shrinks to 0.5 times" in shrinking
    assert "uses" not in shrinking
    together = said("flow", {}, {}, flow_cosines=np.abs(cosines))
    assert "no two pull against each other" in together
    pair = said("flow", {}, {}, flow_cosines=np.array([[1, 0.5], [0.5, 1]]))
    assert pair.endswith("the 2 uses of the shared weights contribute have a cosine of 0.50.")


def test_attribution():
    words = said("attribution", {"attribution__radius_50": 2.0}, {"attribution__radius_95": 33.0})
    assert "within 2 pixels of its centre in stage 1 and within 3 in the last" in words
    assert "95 % within 20 and 33." in words
    assert "miss 3.1 % of the score" in words


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
