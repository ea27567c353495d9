"""Several networks in one table, and tables for papers."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jax
import pytest

import dgunet_jax
from dgunet_jax.evaluation import comparing
from dgunet_jax.evaluation.tables import Table
from dgunet_jax.training.cost import trace_forward
from tests.evaluation.folders import errors, pairs, results
from tests.small import network


@pytest.fixture
def networks(here, monkeypatch):
    """Two networks of different sizes."""
    monkeypatch.setattr(comparing, "SIDE", 32)
    for name, width in (("narrow", 4), ("wide", 12)):
        dgunet_jax.save(f"{name}.safetensors", *network(width=width, num_stages=2))
    return ["narrow.safetensors", "wide.safetensors"]


def table_of(folder: Path | str) -> list[list[str]]:
    rows = [line for line in Path(folder, "table.md").read_text().splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [cells[0], *cells[2:]]


def test_networks_are_compared_in_one_table(evaluate, networks):
    pairs(Path("data"), 3)
    words = ["--protocol", "rgb", "--data", "data", "--checkpoint", *networks]
    status, said, _ = evaluate(*words)
    assert status == 0
    head, *rows = table_of("out")
    assert head == ["", "parameters", "GFLOP", "ms", "PSNR dB / SSIM", "gain dB"]
    assert [row[0] for row in rows] == networks
    for name, parameters, gflop, ms, scores, gain in rows:
        mean = results(f"out/{name}")["mean"]
        assert scores == f"{mean['psnr']:.2f} / {mean['ssim']:.4f}"
        assert gain == f"{mean['psnr'] - mean['input']:+.3f}"
        model, variables = dgunet_jax.load(name)
        leaves = jax.tree.leaves(variables)
        assert int(parameters.replace(",", "")) == sum(leaf.size for leaf in leaves)
        assert gflop == f"{trace_forward(model.config, None, 32).gflop:.1f}"
        assert float(ms.replace(",", "")) >= 0
        assert re.search(rf"^{name} +{parameters} .*{re.escape(gain)}$", said, re.M)
    assert float(rows[1][2]) > float(rows[0][2])
    page = Path("out/report.html").read_text()
    assert links(page) == {f"{name}/report.html" for name in networks}
    assert json.dumps(str(networks[0])) in page.replace("&#34;", '"')


def links(page: str) -> set[str]:
    found = set()

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "a":
                found.add(dict(attrs)["href"])

    Links().feed(page)
    assert all((Path("out") / each).exists() for each in found)
    return found


def test_a_comparison_goes_on_where_it_was_stopped(evaluate, networks):
    pairs(Path("data"), 2)
    words = ["--protocol", "rgb", "--data", "data"]
    assert evaluate(*words, "--checkpoint", networks[0], output="out/narrow.safetensors")[0] == 0
    status, _, warned = evaluate(*words, "--checkpoint", *networks)
    assert status == 0
    assert warned.count("2 of 2 pictures are scored already") == 1
    assert len(table_of("out")) == 3


def test_a_suite_is_compared_and_has_a_page(evaluate, networks):
    for name in ("Test100", "Rain100H", "Rain100L", "Test2800", "Test1200"):
        pairs(Path("data", name), 1)
    words = ["--dataset", "derain", "--data", "data", "--checkpoint", *networks]
    assert evaluate(*words)[0] == 0
    head, *rows = table_of("out")
    assert head[4:] == [
        *("Test100", "Rain100H", "Rain100L", "Test2800", "Test1200"), "average", "gain dB",
    ]  # fmt: skip
    assert [row[0] for row in rows[2:]] == ["DGUNet, published", "DGUNet+, published"]
    assert rows[2][4:10] == [
        *("30.32 / 0.899", "30.66 / 0.891", "37.42 / 0.969", "33.68 / 0.938", "33.23 / 0.920"),
        "33.06 / 0.923",
    ]
    mean = results(f"out/{networks[0]}")["mean"]
    assert rows[0][9] == f"{mean['psnr']:.2f} / {mean['ssim']:.4f}"
    assert len(links(Path("out/report.html").read_text())) == 10
    page = Path("out", networks[0], "report.html").read_text()
    assert page.count("<table") == 6
    assert "Test2800/report.html" in page


@pytest.mark.parametrize("second", ["other/narrow.safetensors", "narrow.safetensors"])
def test_networks_of_one_name_are_told(evaluate, networks, second):
    pairs(Path("data"), 1)
    Path("other").mkdir()
    shutil.copy(networks[0], "other")
    words = ["--protocol", "rgb", "--data", "data", "--checkpoint", networks[0], second]
    status, _, warned = evaluate(*words)
    assert status == 2
    (error,) = errors(warned)
    assert "--checkpoint: each must have a name of its own; these are narrow.safetensors" in error
    assert not Path("out").exists()


def test_a_comparison_is_not_put_over_an_evaluation(evaluate, networks):
    pairs(Path("data"), 1)
    words = ["--protocol", "rgb", "--data", "data", "--checkpoint"]
    assert evaluate(*words, networks[0])[0] == 0
    before = Path("out/report.html").read_bytes()
    status, _, warned = evaluate(*words, *networks)
    assert status == 2
    assert "out: holds another evaluation" in errors(warned)[0]
    assert Path("out/report.html").read_bytes() == before


TABLE = Table(
    "σ = 25, 50 % & more", ("", "PSNR dB", "SSIM"), [("a_b|c", "30.1", ""), ("#2~", "–", "")], "×8"
)


def test_tables_escape_what_their_languages_read():
    assert TABLE.shortened().markdown().splitlines()[2:6] == [
        "|  | PSNR dB |",
        "| --- | --: |",
        r"| a_b\|c | 30.1 |",
        "| #2~ | – |",
    ]
    latex = TABLE.latex()
    assert r"\caption{$\sigma$ = 25, 50 \% \& more $\times$8}" in latex
    assert r"a\_b\textbar{}c & 30.1 &  \\" in latex
    assert r"\#2\textasciitilde{} & -- &  \\" in latex
    assert r"\begin{tabular}{lrr}" in latex
    assert latex.count("{") == latex.count("}")


def test_columns_of_a_terminal_stand_below_each_other():
    lines = TABLE.text().splitlines()
    assert lines[1:] == ["       PSNR dB  SSIM", "a_b|c     30.1", "#2~          –", "×8"]


def test_an_evaluation_writes_its_table(evaluate):
    pairs(Path("data"), 2)
    assert evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")[0] == 0
    assert [row[0] for row in table_of("out")] == ["", "input", "input"]
    assert r"\toprule" in Path("out/table.tex").read_text()
