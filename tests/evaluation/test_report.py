"""The report is one file that holds everything."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.cli import main
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.evaluation.report import error_map, figures
from dgunet_jax.evaluation.samples import Degraded, RestoredSample, Sample
from dgunet_jax.evaluation.scores import compare
from tests.evaluation.folders import clean, degraded, pairs, save

COUNT = 8


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of eight pictures, each worse than the one before."""
    folder = tmp_path_factory.mktemp("report")
    pairs(folder / "data", COUNT)
    for kind, pixels in (("input", degraded(7)), ("target", clean(7))):
        (folder / "data" / kind / "7.png").unlink()
        save(folder / "data" / kind / "a&<b>.png", pixels)
    words = ["--protocol", "rgb", "--data", f"{folder}/data", "--restored", f"{folder}/data/input"]
    assert main(["evaluate", *words, "--output", f"{folder}/out"]) == 0
    return Path(folder, "out", "report.html").read_text()


class Reader(HTMLParser):
    """Collects tags, and rows of the table of all pictures."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_needs_nothing_else(page):
    reader = Reader(page)
    assert reader.open == []
    for tag, attributes in reader.tags:
        for key in ("src", "href", "srcset", "action"):
            if key in attributes:
                assert str(attributes[key]).startswith("data:"), (tag, attributes)
    code = re.sub(r'"data:image/[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch|XMLHttp", code)


def test_report_lists_all_images_for_sorting(page):
    cells = [attributes for tag, attributes in Reader(page).tags if tag == "td"]
    values = [each["data-value"] for each in cells if "data-value" in each]
    rows = [values[i : i + 4] for i in range(0, len(values), 4)]
    assert [row[0] for row in rows] == [*"0123456", "a&<b>"]
    for i, (_, psnr, ssim, _) in enumerate(rows):
        expected = compare(PROTOCOLS["rgb"], unit_range(degraded(i)), clean(i))
        assert (float(str(psnr)), float(str(ssim))) == expected[:2]


def test_report_shows_the_worst_and_the_best(page):
    images = [attributes for tag, attributes in Reader(page).tags if tag == "img"]
    kinds = ("input", "restored", "target", "error")
    names = ("a&<b>", "6", "5", "0", "1", "2")
    assert [each["alt"] for each in images] == [f"{k} of {n}" for n in names for k in kinds]
    shown = {each["alt"]: _decoded(str(each["src"])) for each in images}
    for name, i in (("a&<b>", 7), ("0", 0)):
        np.testing.assert_array_equal(shown[f"target of {name}"], clean(i))
        for kind in ("input", "restored"):
            np.testing.assert_array_equal(shown[f"{kind} of {name}"], degraded(i))
        expected = error_map(unit_range(degraded(i)), unit_range(clean(i)))
        np.testing.assert_array_equal(shown[f"error of {name}"], expected)


def _decoded(source):
    head, content = source.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_error_map_is_black_without_error_and_grows_with_it():
    target = np.zeros((1, 4, 3), np.float32)
    image = target + np.array([0, 0.05, 0.1, 0.5], np.float32)[None, :, None]
    sums = error_map(image, target).astype(int).sum(axis=2)[0]
    assert sums[0] < 10
    assert sums[0] < sums[1] < sums[2] == sums[3]


def test_report_shrinks_large_images(tmp_path):
    rng = np.random.default_rng(0)
    big = rng.integers(0, 255, (40, 2000, 3), np.uint8)
    for kind in ("input", "target"):
        save(tmp_path / "data" / kind / "x.png", big)
    words = ["--data", f"{tmp_path}/data", "--restored", f"{tmp_path}/data/input"]
    assert main(["evaluate", "--protocol", "rgb", *words, "--output", f"{tmp_path}/out"]) == 0
    sources = re.findall(r'src="([^"]+)"', (tmp_path / "out/report.html").read_text())
    assert len(sources) == 4
    assert _decoded(sources[0]).shape == (19, 960, 3)


@pytest.mark.parametrize("size", [(16, 32000), (32000, 7)])
def test_figures_show_narrow_images(size):
    zeros = np.zeros((*size, 3), np.float32)
    sample = Sample("x", size, (), (), lambda: Degraded(zeros, None))
    shown = dict(figures(RestoredSample(sample, zeros, zeros, None)))
    assert sorted(_decoded(shown["restored"]).shape) == [1, 3, 960]
