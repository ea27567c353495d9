"""The accelerator's benchmark: tiny on a CPU, and its book-keeping without any device."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accelerator, accelerator_table
from benchmarks.accelerator_programs import kernels
from benchmarks.accelerator_table import Row, Table
from tests.benchmarks.jobs import job

pytestmark = pytest.mark.timeout(900)  # a slow machine compiles for minutes

NUMBERS = {
    "s": "seconds",
    "TFLOP/s": "tflop_per_second",
    "of product": "of_product",
    "TB/s": "tb_per_second",
    "of copy": "of_copy",
    "× PyTorch": "over_peer",
    "memory GB": "memory_gb",
    "compile s": "compile_seconds",
}


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = json.loads((folder / "figures.json").read_text())
    return content["header"], content["rows"]


def lines(folder: Path) -> list[dict[str, str]]:
    """The table's lines, by heading."""
    text = (folder / "table.md").read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split(" |")]
        for line in text
        if line.startswith("|")
    ]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


@pytest.fixture
def conduct(tmp_path, monkeypatch):
    """Carries out jobs in place of the plan: the exit status, and rows by name."""

    def conduct(*jobs, minutes=5.0, missing=""):
        monkeypatch.setattr(accelerator, "_header", lambda *given: {"tiny": True})
        monkeypatch.setattr(accelerator, "_look_for_peer", lambda *given: missing)
        monkeypatch.setattr(accelerator, "plan", lambda tiny: iter(jobs))
        status = accelerator.main(["--output", str(tmp_path), "--minutes", str(minutes)])
        return status, {row["name"]: row for row in read(tmp_path)[1]}

    return conduct


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The whole command, on this machine's CPU."""
    folder = tmp_path_factory.mktemp("accelerator")
    words = ["-m", "benchmarks.accelerator", "--output", str(folder), "--minutes", "20"]
    # PyTorch's threads and JAX's would wait for each other on a few cores.
    subprocess.run([sys.executable, *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder


def test_tiny_run_on_a_cpu(tiny):
    header, rows = read(tiny)
    assert header["tiny"] and header["device"] == "cpu" and header["jax"]
    assert {row["section"] for row in rows} == {
        *("exactness", "ceiling", "compiling", "ours", "peer")
    }
    for row in rows:
        where = row["name"], row["note"]
        # One device divides nothing, and PyTorch need not be there.
        may_be_left = "sharding" in row["name"] or row["section"] == "peer"
        assert row["state"] == "ok" or (row["state"] == "skipped" and may_be_left), where
        if row["state"] == "skipped":
            assert row["note"]
        elif row["section"] not in ("exactness", "compiling"):
            assert row["seconds"] > 0 and row["rounds"], where
    (golden,) = (row for row in rows if row["name"] == "golden tiny")
    assert set(golden["errors"]) == {"stages", "loss", "gradients"}
    assert 0 < golden["errors"]["stages"] < 4


def test_tiny_figures_of_our_programs(tiny):
    rows = [row for row in read(tiny)[1] if row["section"] == "ours"]
    assert {row["precision"] for row in rows} >= {"float32", "bfloat16"}
    for row in rows:
        assert row["name"].startswith("tiny ")
        assert row["tflop_per_second"] > 0 and row["of_product"] > 0
        assert row["tb_per_second"] > 0 and row["of_copy"] > 0
        assert row["memory_gb"] > 0
        assert sum(n for name, n in row["kernels"].items() if "convolution" in name) > 30
    # Without their own form, more convolutions are left to XLA.
    (plain,) = (row for row in rows if row["precision"] == "float32" and "," not in row["name"])
    (without,) = (row for row in rows if "plain" in row["name"])
    assert plain["kernels"] != without["kernels"]


def test_table_and_json_tell_the_same(tiny):
    _, rows = read(tiny)
    table = lines(tiny)
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        for name in ("section", "name", "precision", "state", "note"):
            assert line[name] == row[name]
        for heading, name in NUMBERS.items():
            if row[name] is None:
                assert line[heading] == "–"
            else:
                assert float(line[heading]) == pytest.approx(row[name], rel=1e-3, abs=0.06)


def test_table_says_that_it_is_tiny(tmp_path):
    for flag, count in ((True, 1), (False, 0)):
        Table(tmp_path, {"tiny": flag})
        first = (tmp_path / "table.md").read_text().splitlines()[0]
        assert first.count("tiny networks") == count


def test_shares_are_those_of_the_ceilings_and_the_fastest_peer(tmp_path):
    table = Table(tmp_path, {})
    # 800 and 400 TFLOP/s, and 2 TB/s.
    table.add(Row("ceiling", "product", "bfloat16", seconds=0.01, gflop=8000.0))
    table.add(Row("ceiling", "product", "default", seconds=0.02, gflop=8000.0))
    table.add(Row("ceiling", "copy", seconds=0.001, gigabytes=2.0))
    ours = {"work": "a step", "seconds": 0.1, "gflop": 20000.0, "gigabytes": 150.0}
    table.add(Row("ours", "a step", "bfloat16", **ours))
    table.add(Row("ours", "a step, remat", "bfloat16", **ours | {"gflop": None, "seconds": 0.2}))
    table.add(Row("ours", "a step", "default", **ours))
    for seconds, precision, work in (
        (0.3, "bfloat16", "a step"),
        (0.25, "bfloat16", "a step"),
        (0.01, "bfloat16", "another"),
        (0.02, "float32", "a step"),
    ):
        table.add(Row("peer", work, precision, work=work, seconds=seconds))
    _, rows = read(tmp_path)
    bfloat16, remat, default = rows[3:6]
    assert bfloat16["tflop_per_second"] == pytest.approx(200)
    assert bfloat16["of_product"] == pytest.approx(0.25)
    assert bfloat16["tb_per_second"] == pytest.approx(1.5)
    assert bfloat16["of_copy"] == pytest.approx(0.75)
    assert bfloat16["over_peer"] == pytest.approx(2.5)
    # Nothing that is computed twice counts as work.
    assert remat["of_product"] == pytest.approx(0.125)
    assert default["of_product"] == pytest.approx(0.5)
    assert default["over_peer"] is None
    assert rows[7]["tflop_per_second"] == pytest.approx(80)


def test_a_row_that_fails_is_told_and_the_rest_goes_on(conduct):
    jobs = (job("out_of_memory", "first", "second", "third"), job("aborts"), job("good"))
    status, rows = conduct(*jobs)
    assert status == 0
    assert rows["first"]["state"] == "ok" and rows["first"]["seconds"] == 0.25
    assert rows["second"]["state"] == "failed"
    assert rows["second"]["note"] == "RuntimeError: RESOURCE_EXHAUSTED: Out of memory"
    assert rows["third"]["state"] == "skipped"
    assert rows["aborts"]["state"] == "failed"
    assert "status 7" in rows["aborts"]["note"]
    assert rows["good"]["seconds"] == 0.5


def test_time_is_kept(conduct):
    begin = time.monotonic()
    jobs = job("good", seconds=3), job("hangs", seconds=1), job("good", "late", seconds=1)
    _, rows = conduct(job("good", "long", seconds=99), *jobs, minutes=0.1)
    assert time.monotonic() - begin < 60
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"long": "skipped", "good": "ok", "hangs": "failed", "late": "skipped"}
    assert rows["long"]["note"].startswith("takes about 99 s")
    assert "time was over" in rows["hangs"]["note"]


def test_exactness_takes_its_share_of_the_time_at_most(conduct):
    _, rows = conduct(job("hangs", seconds=1, most=0.05), job("good"), minutes=0.4)
    assert rows["hangs"]["state"] == "failed"
    assert rows["good"]["state"] == "ok"


def test_without_time_everything_is_skipped(conduct):
    plan = list(accelerator.plan(tiny=False))
    status, rows = conduct(*plan, minutes=0)
    assert status == 0
    assert {row["state"] for row in rows.values()} == {"skipped"}
    assert {row["section"] for row in rows.values()} == {
        *("exactness", "ceiling", "compiling", "ours", "peer")
    }


def test_plan_has_every_golden_and_no_row_twice():
    rows = [row for each in accelerator.plan(tiny=False) for row in each.rows]
    assert len({(row.section, row.name, row.precision) for row in rows}) == len(rows)
    golden = Path(__file__).parents[1] / "golden"
    recorded = {path.stem for path in golden.glob("*.npz")} - {"losses", "trajectory"}
    assert {row.name for row in rows} >= {f"golden {name}" for name in recorded}


def test_what_is_wrong_makes_the_status_1(conduct):
    status, rows = conduct(job("wrong"), job("good"))
    assert status == 1
    assert rows["wrong"]["note"] == "off by 5"
    assert rows["good"]["state"] == "ok"


def test_a_missing_peer_is_one_line(conduct):
    peers = [job("good", f"peer {i}", process="peer") for i in range(3)]
    _, rows = conduct(job("good"), *peers, missing="PyTorch finds no CUDA device")
    assert set(rows) == {"good", "PyTorch"}
    assert rows["PyTorch"]["state"] == "skipped"
    assert rows["PyTorch"]["note"] == "PyTorch finds no CUDA device"


def test_what_was_measured_outlives_a_kill(tmp_path):
    words = [sys.executable, "-m", "tests.benchmarks.jobs", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ok")
        process.kill()
    (row,) = read(tmp_path)[1]
    (line,) = lines(tmp_path)
    assert row["name"] == line["name"] == "good"
    assert not list(tmp_path.glob(".*.tmp"))


def test_kernels_of_a_program():
    program = """
    %a = f32[8] custom-call(%x), custom_call_target="__cudnn$convBackwardFilter", metadata={}
    %b = f32[8] custom-call(%x), custom_call_target="__cudnn$convBackwardFilter"
    %c = f32[8] fusion(%x), kind=kCustom, backend_config={"kind":"__triton_gemm","n":1}
    %d = f32[8] convolution(%x, %y), window={size=3x3}, dim_labels=b01f_01io->b01f
    """
    assert kernels(program) == {
        "__cudnn$convBackwardFilter": 2,
        "convolution b01f_01io->b01f": 1,
        "fusion __triton_gemm": 1,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--output"),
        (["--output", "DIR", "--minutes", "-1"], "--minutes is -1.0; it must be at least 0"),
        (["--output", "DIR", "--minutes", "nan"], "--minutes is nan"),
        (["--output", "DIR", "--minutes", "soon"], "--minutes"),
        (["--output", "FILE/x"], "is not a directory"),
    ],
)
def test_bad_arguments(words, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    places = {"DIR": str(tmp_path / "new"), "FILE/x": str(tmp_path / "file" / "x")}
    assert accelerator.main([places.get(word, word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "new").exists()


def test_median():
    assert accelerator_table.median([5.0, 1.0, 2.0])["seconds"] == 2.0
