"""Figures show the numbers and the images of a study."""

import dataclasses

import numpy as np
import pytest

from dgunet_jax.analysis.report import SECTIONS, fill
from dgunet_jax.evaluation.report import error_map
from tests.analysis.studies import SENSING, depth, made

NAN = np.nan
LABEL = "of the step with the way to the clean image"


def drawn(study):
    return {
        section.name: section.figure(measured, study)
        for section in SECTIONS
        if (measured := section.measured(study)) is not None
    }


@pytest.fixture(scope="module")
def study():
    return made(
        psnr_x=[21, 25, 25],
        cosine=[NAN, 0.5, 0.5],
        product=[0.75, 2.5, 0.75],
        image=[0.9, 0.9, 1.5],
        depth=depth(diverged_at=9, psnr_result=np.array([30.0] * 8 + [NAN] * 42)),
        cosines=np.array([[1.0, 0.5], [0.5, 1.0]]),
    )


@pytest.fixture(scope="module")
def figures(study):
    return drawn(study)


def lines(figure):
    """The values of every line of a figure, by its label."""
    return {
        str(line.get_label()): np.asarray(line.get_ydata(), float)
        for ax in figure.axes
        for line in ax.get_lines()
    }


def shown(figure):
    return {ax.get_title(): ax.get_images()[0].get_array() for ax in figure.axes if ax.get_images()}


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("progress", "x, after the proximal step", [21, 25, 25]),
        ("progress", "input", [20, 20]),
        ("moves", "‖v − x before‖, gradient", [0.04, 0.04, 0.04]),
        ("gradient", "with the gradient", [NAN, 0.5, 0.5]),
        ("gradient", "data term after / before", [0.8, 0.8, 0.8]),
        ("adjointness", "residuals met in use", [0.25, 0.25, 0.25]),
        ("steps", "ρL", [0.75, 2.5, 0.75]),
        ("contraction", "image, memory held", [0.9, 0.9, 1.5]),
        ("contraction", "symmetry gap", [0.2, 0.2, 0.2]),
        ("flow", "‖∂L/∂θ‖", [0.1, 0.1, 0.1]),
        ("depth", "result, last stage's", [30.0] * 8 + [NAN] * 42),
        ("depth", "diverged", [0, 1]),
    ],
)
def test_lines_are_the_numbers(figures, name, label, values):
    np.testing.assert_array_equal(lines(figures[name])[label], values)


def test_stages_shows_the_images(study, figures):
    images = shown(figures["stages"])
    np.testing.assert_array_equal(images["x1, 21.00 dB"], study.x[0])
    np.testing.assert_array_equal(images["v3, 24.00 dB"], study.v[2])
    np.testing.assert_array_equal(images["input, 20.00 dB"], study.inputs)
    np.testing.assert_array_equal(images["clean"], study.clean)
    assert "error of x2, 0 … 0.1" in images


def test_stages_without_a_clean_image_shows_changes_of_clamped_images():
    """1.5 and 2 are both white."""
    images = [np.full((8, 8, 3), value, np.float32) for value in (1.5, 2.0)]
    fields = {"start": images[0], "x": images}
    found = shown(drawn(made(2, clean=False, quick=True, fields=fields))["stages"])
    black = error_map(images[0], images[0].clip(0, 1))
    for title in ("|x1 − x0|, 0 … 0.1", "|x2 − x1|, 0 … 0.1"):
        np.testing.assert_array_equal(found[title], black)


def test_compressive_sensing_has_no_input_that_is_an_image():
    figures = drawn(made(network=SENSING))
    images = shown(figures["stages"])
    assert "clean, which is sampled" in images
    assert not any(title.startswith(("input", "error, ")) for title in images)
    assert "|∂ patch of x1/∂ image|, 95 % in 2 px" in shown(figures["attribution"])


def test_gradient_shows_the_way_to_the_clean_image_if_a_stage_has_it():
    figure = drawn(made(2, towards_clean=[NAN, 0.3]))["gradient"]
    np.testing.assert_array_equal(lines(figure)[LABEL], [NAN, 0.3])
    assert LABEL not in lines(drawn(made(2, towards_clean=NAN))["gradient"])
    left, right = figure.axes
    assert left.get_yscale() == "linear" and right.get_yscale() == "log"


def test_depth_without_a_clean_image_is_one_panel():
    alone = depth(diverged_at=3, psnr=None, psnr_result=None)
    figure = drawn(made(2, clean=False, depth=alone))["depth"]
    assert len(figure.axes) == 1
    assert {"‖Φ(xₙ₋₁) − y‖", "in training", "diverged"} <= {*lines(figure)}


def test_a_network_without_gradient_steps_has_no_operators():
    figures = drawn(made(network={"degradation": "none"}, depth=depth(residual=None)))
    labels = [str(label) for figure in figures.values() for label in lines(figure)]
    assert not any("Φ" in label for label in labels)
    assert not any(title.startswith("g1") for title in shown(figures["stages"]))


@pytest.mark.parametrize("size", [np.float32(1e30), np.nan, np.inf])
def test_numbers_that_overflow_can_be_drawn(size):
    names = ("residual", "change", "gradient_move", "proximal_move", "product", "cosine")
    lost = dict.fromkeys((*names, "data_ratio", "image", "weights", "radius_95"), NAN)
    study = made(2, **lost, given=np.inf, depth=depth(change=np.full(50, NAN)))
    images = [np.full((8, 8, 3), 1e30, np.float32)] * 2
    explained = study.attribution
    assert explained is not None
    explained = dataclasses.replace(
        explained, saliency=np.full((2, 8, 8), size), integrated=np.full((8, 8), size)
    )
    study = dataclasses.replace(study, g=images, v=images, x=images, attribution=explained)
    assert len(fill(study)) == 10
