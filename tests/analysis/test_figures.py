"""Figures show the numbers of a study, and the report holds them all."""

import base64
import dataclasses
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.analysis import figures as figures_
from dgunet_jax.analysis import report
from dgunet_jax.analysis.sentences import sentences
from tests.analysis.studies import SENSING, depth, made

COSINES = np.array([[1.0, 0.5], [0.5, 1.0]])


@pytest.fixture(scope="module")
def study():
    return made(
        {"psnr_x": 21.0, "gradient__cosine": None},
        {"step__product": 2.5},
        {"contraction__image": 1.5},
        depth=depth(diverged_at=9, psnr_result=[30.0] * 8 + [None] * 42),
        flow_cosines=COSINES,
    )


@pytest.fixture(scope="module")
def figures(study):
    return figures_.figures(study)


def lines(figure):
    """What every line of a figure shows, by its label."""
    return {
        str(line.get_label()): np.asarray(line.get_ydata(), float)
        for ax in figure.axes
        for line in ax.get_lines()
    }


def test_lines_are_the_numbers(figures):
    for name, label, values in (
        ("progress", "x, after the proximal step", [21, 25, 25]),
        ("progress", "input", [20, 20]),
        ("moves", "‖v − x before‖, gradient", [0.04, 0.04, 0.04]),
        ("gradient", "cosine with the gradient", [np.nan, 0.5, 0.5]),
        ("gradient", "data term after / before", [0.8, 0.8, 0.8]),
        ("adjointness", "residuals met in use", [0.25, 0.25, 0.25]),
        ("steps", "ρL", [0.75, 2.5, 0.75]),
        ("contraction", "image, memory held", [0.9, 0.9, 1.5]),
        ("contraction", "symmetry gap", [0.2, 0.2, 0.2]),
        ("flow", "‖∂L/∂θ‖", [0.1, 0.1, 0.1]),
        ("depth", "result, last stage's", [30.0] * 8 + [np.nan] * 42),
    ):
        np.testing.assert_array_equal(lines(figures[name])[label], values)
    assert "diverged" in lines(figures["depth"])


def test_pictures_are_those_of_the_stages(study, figures):
    shown = {ax.get_title(): ax.get_images()[0].get_array() for ax in figures["stages"].axes if
             ax.get_images()}  # fmt: skip
    np.testing.assert_array_equal(shown["x1, 21.00 dB"], study.x[0])
    np.testing.assert_array_equal(shown["v3, 24.00 dB"], study.v[2])
    np.testing.assert_array_equal(shown["input, 20.00 dB"], study.inputs)
    np.testing.assert_array_equal(shown["clean"], study.clean)
    assert "error of x2, 0 … 0.1" in shown
    unknown = figures_.figures(made({}, {}, clean=False, quick=True))
    titles = [ax.get_title() for ax in unknown["stages"].axes]
    assert {"x1", "|x2 − x1|, 0 … 0.1"} <= {*titles}


def shown_on(figure):
    return {ax.get_title(): ax.get_images()[0].get_array() for ax in figure.axes if ax.get_images()}


def test_compressive_sensing_has_no_input_that_is_a_picture():
    figures = figures_.figures(made({}, {}, network=SENSING))
    shown = shown_on(figures["stages"])
    assert "clean, which is sampled" in shown
    assert not any(title.startswith(("input", "error, ")) for title in shown)
    titles = [ax.get_title() for ax in figures["attribution"].axes]
    assert titles[0].startswith("|∂ patch of x1/∂ picture|")
    titles = [ax.get_title() for ax in figures_.figures(made({}, {}))["attribution"].axes]
    assert titles[0].startswith("|∂ patch of x1/∂ input|, 95 % in 2 px")


def test_what_a_stage_changed_is_that_of_clamped_pictures():
    """1.5 and 2 are both white."""
    images = [np.full((8, 8, 3), value, np.float32) for value in (1.5, 2.0)]
    study = made({}, {}, clean=False, quick=True, start=images[0], x=images)
    shown = shown_on(figures_.figures(study)["stages"])
    black = figures_.error_map(images[0], images[0].clip(0, 1))
    for title in ("|x1 − x0|, 0 … 0.1", "|x2 − x1|, 0 … 0.1"):
        np.testing.assert_array_equal(shown[title], black)


def test_one_stage_that_knows_the_way_is_enough():
    lost = {"gradient__towards_clean": None}
    label = "cosine of the step with the way to the clean image"
    drawn = lines(figures_.figures(made(lost, {}))["gradient"])
    np.testing.assert_array_equal(drawn[label], [np.nan, 0.3])
    assert label not in lines(figures_.figures(made(lost, lost))["gradient"])


def test_ratios_and_cosines_have_axes_of_their_own(figures):
    left, right = figures["gradient"].axes
    assert right.get_yscale() == "log" and left.get_yscale() == "linear"
    assert "data term after / before" in [line.get_label() for line in right.get_lines()]


def test_depth_without_a_clean_picture_is_one_panel():
    alone = depth(diverged_at=3)
    del alone["psnr"], alone["psnr_result"]
    figure = figures_.figures(made({}, {}, clean=False, depth=alone))["depth"]
    assert len(figure.axes) == 1 and figure.axes[0].axison
    assert {"‖Φ(xₙ₋₁) − y‖", "in training", "diverged"} <= {*lines(figure)}


def test_a_network_without_gradient_steps_has_no_operators():
    alone = depth(residual=None)
    study = made({}, {}, {}, network={"degradation": "none"}, depth=alone)
    figures = figures_.figures(study)
    assert [*figures] == ["stages", *sentences(study)]
    labels = [str(label) for figure in figures.values() for label in lines(figure)]
    assert not any("Φ" in label for label in labels)
    assert not any(title.startswith("g1") for title in shown_on(figures["stages"]))
    images = {name: report.encode(figure) for name, figure in figures.items()}
    assert "Φ" not in report.page("t", [], images, sentences(study), study.stages)


@pytest.mark.parametrize("size", [np.float32(1e30), np.nan, np.inf])
def test_numbers_that_overflow_can_be_drawn(size):
    names = ("residual", "change", "gradient_move", "proximal_move", "step__product")
    names += ("gradient__cosine", "gradient__data_ratio", "contraction__image", "flow__weights")
    lost = dict.fromkeys((*names, "attribution__radius_95"))
    study = made(lost, lost, depth=depth(residual=[np.inf] * 50, change=[np.nan] * 50))
    images = [np.full((8, 8, 3), 1e30, np.float32)] * 2
    assert study.explained is not None
    explained = dataclasses.replace(
        study.explained, saliency=np.full((2, 8, 8), size), integrated=np.full((8, 8), size)
    )
    exact = {"psnr": np.inf, "ssim": 1.0}
    study = dataclasses.replace(study, g=images, v=images, x=images, input=exact)
    figures = figures_.figures(dataclasses.replace(study, explained=explained))
    assert all(report.encode(figure) for figure in figures.values())


def test_a_study_has_the_figures_it_can_have(figures):
    assert [*figures] == [
        *("stages", "progress", "moves", "gradient", "adjointness", "steps"),
        *("contraction", "depth", "flow", "attribution"),
    ]
    quick = figures_.figures(made({}, {}, clean=False, quick=True))
    assert [*quick] == ["stages", "progress", "moves", "gradient", "adjointness", "steps"]


def test_every_figure_has_something_on_it(figures):
    for name, figure in figures.items():
        pixels = np.asarray(Image.open(io.BytesIO(report.encode(figure))).convert("L"))
        assert pixels.std() > 5, name


def test_the_report_holds_figures_sentences_and_numbers(study, figures):
    images = {name: report.encode(figure) for name, figure in figures.items()}
    said = sentences(study)
    page = report.page("<b> & c", ["a fact"], images, said, study.stages)
    assert "<h1>&lt;b&gt; &amp; c</h1>" in page
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(each) for each in found] == [*images.values()]
    for words in said.values():
        assert html.escape(words) in page
    cells = re.search(r"<td>step product</td><td>(.*?)</td><td>(.*?)</td>", page)
    assert cells is not None
    assert cells.groups() == ("0.75", "2.5")
    assert "<td>gradient cosine</td><td>–</td><td>0.5</td>" in page
    assert "<td>contraction image_converged</td><td>true</td>" in page
    assert "power iteration" not in page


def test_the_report_needs_nothing_else(study, figures):
    images = {name: report.encode(figure) for name, figure in figures.items()}
    page = report.page("t", [], images, sentences(study), study.stages)
    code = re.sub(r'"data:image/[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|fetch|XMLHttp", code)
