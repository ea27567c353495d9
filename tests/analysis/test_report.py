"""The report holds the figures, the verdicts and the numbers of a study."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.analysis import report
from tests.analysis.studies import depth, made


@pytest.fixture(scope="module")
def study():
    cosine, product = [np.nan, 0.5, 0.5], [0.75, 2.5, 0.75]
    return made(cosine=cosine, product=product, depth=depth(), cosines=np.eye(2))


@pytest.fixture(scope="module")
def sections(study):
    return report.fill(study)


@pytest.fixture(scope="module")
def page(study, sections):
    return report.page("<b> & c", ["a fact"], sections, report.numbers(study)["stages"])


def test_fill_has_the_sections_that_a_study_can_have(sections):
    assert [section.name for section in sections] == [
        *("stages", "progress", "moves", "gradient", "adjointness", "steps"),
        *("contraction", "depth", "flow", "attribution"),
    ]
    for section in sections:
        pixels = np.asarray(Image.open(io.BytesIO(section.png)).convert("L"))
        assert pixels.std() > 5, section.name
        assert section.verdict.endswith(".") or section.name == "stages"


def test_page_holds_figures_verdicts_and_numbers(sections, page):
    assert "<h1>&lt;b&gt; &amp; c</h1>" in page and "a fact" in page
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(each) for each in found] == [section.png for section in sections]
    text = html.unescape(page)
    for section in sections:
        assert section.title in text and section.note in text and section.verdict in text
    assert "<td>step product</td><td>0.75</td><td>2.5</td><td>0.75</td>" in page
    assert "<td>gradient cosine</td><td>–</td><td>0.5</td>" in page
    assert "<td>contraction image_converged</td><td>true</td>" in page


def test_page_needs_no_other_file(page):
    code = re.sub(r'"data:image/[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|fetch|XMLHttp", code)


def test_page_of_a_network_without_gradient_steps_has_no_operators():
    study = made(network={"degradation": "none"}, depth=depth(residual=None))
    numbers = report.numbers(study)
    assert "Φ" not in report.page("t", [], report.fill(study), numbers["stages"])
    assert numbers["stages"][0]["residual"] is numbers["depth"]["residual"] is None
    assert {"gradient", "adjointness", "step"}.isdisjoint(numbers["stages"][0])


def test_numbers_that_are_not_finite_are_none(study):
    numbers = report.numbers(made(given=np.inf, error=np.nan, cosines=np.full((2, 2), np.nan)))
    assert numbers["input"] == {"psnr": None, "ssim": 0.5}
    assert numbers["attribution"]["integrated_gradients_error"] is None
    assert numbers["flow_cosines"] == [[None, None]] * 2
    cosines = [stage["gradient"]["cosine"] for stage in report.numbers(study)["stages"]]
    assert cosines == [None, 0.5, 0.5]


def test_numbers_of_a_quick_study_without_a_clean_image():
    numbers = report.numbers(made(clean=False, quick=True))
    assert numbers["input"] is numbers["depth"] is numbers["attribution"] is None
    stage = numbers["stages"][0]
    assert stage["psnr_x"] is stage["gradient"]["towards_clean"] is None
    assert {"flow", "contraction", "attribution"}.isdisjoint(stage)
