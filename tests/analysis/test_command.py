"""`dgunet analyze` from the command to its files, on networks of random weights."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import dgunet_jax
from dgunet_jax.analysis.progress import progress
from dgunet_jax.cli import main
from dgunet_jax.metrics._psnr import psnr
from dgunet_jax.models.unfold import trace, unfold
from tests.analysis.studies import made
from tests.choices import make
from tests.evaluation.folders import PHOTO, save
from tests.quick import compiler_options, xla_flags
from tests.small import network

STAGES = 4
PLACE = (slice(1, 25), slice(11, 35))  # of 27×53 pixels, the 24×24 around the patch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A noisy picture of an odd size, and the clean one."""
    folder = tmp_path_factory.mktemp("analysis")
    clean = PHOTO[60:87, 100:153]
    noise = 20 * np.random.default_rng(0).standard_normal(clean.shape)
    save(folder / "clean.png", clean)
    save(folder / "noisy.png", np.rint(clean + noise).clip(0, 255).astype(np.uint8))
    return folder


def read(path):
    return np.asarray(Image.open(path), np.float32) / np.float32(255)


def analyze(*words):
    """What a run of the command says; compiled quickly, in a process of its own."""
    command = [sys.executable, "-m", "dgunet_jax.cli", "analyze", *map(str, words), "--no-cache"]
    environment = os.environ | {"XLA_FLAGS": xla_flags()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(folder):
    made = network(width=4, growth=2, last_growth=2, num_stages=STAGES)
    dgunet_jax.save(folder / "model.safetensors", *made)
    return made


@pytest.fixture(scope="module")
def analyzed(folder, model):
    output = folder / "out"
    words = ["--checkpoint", folder / "model.safetensors", folder / "noisy.png"]
    words += ["--clean", folder / "clean.png", "--patch", 20, 8, 6, 10, "--size", 24]
    analyze(*words, "--output", output)
    return output


@pytest.fixture(scope="module")
def numbers(analyzed):
    return json.loads((analyzed / "analysis.json").read_text())


@pytest.fixture(scope="module")
def computed(folder, model):
    """The part that is analysed, clean and as input, and what the network makes of it."""
    clean, inputs = (read(folder / f"{name}.png")[PLACE] for name in ("clean", "noisy"))
    run = jax.jit(trace, compiler_options=compiler_options())
    return clean, inputs, run(unfold(*model), jnp.asarray(inputs)[None])


def test_the_region_holds_the_patch(numbers):
    assert numbers["region"] == {"x": 11, "y": 1, "width": 24, "height": 24}
    assert numbers["attribution"]["crop"] == numbers["region"]
    assert numbers["attribution"]["patch"] == {"x": 9, "y": 7, "width": 6, "height": 10}


def test_stages_come_first_first_with_their_numbers(numbers, computed):
    clean, inputs, traced = computed
    assert [stage["stage"] for stage in numbers["stages"]] == [1, 2, 3, 4]
    assert numbers["input"]["psnr"] == pytest.approx(psnr(inputs, clean), abs=1e-4)
    before = traced.start
    for stage, each in zip(numbers["stages"], traced.stages, strict=True):
        for name in ("v", "x"):
            image = np.asarray(getattr(each, name)[0]).clip(0, 1)
            assert stage[f"psnr_{name}"] == pytest.approx(psnr(image, clean), abs=1e-3)
        for name, value in vars(progress(before, each)).items():
            assert stage[name] == pytest.approx(value.item(), rel=1e-3), name
        before = each.x


def certain(stage):
    return stage["contraction"]["image_converged"] and stage["contraction"]["state_converged"]


def test_every_measure_is_there_and_in_its_range(numbers):
    for stage in numbers["stages"]:
        assert -1 <= stage["gradient"]["cosine"] <= 1
        assert -1 <= stage["gradient"]["towards_clean"] <= 1
        assert 0 <= stage["adjointness"]["random"] <= 1
        assert stage["step"]["product"] == pytest.approx(
            stage["step"]["step_size"] * stage["step"]["curvature"], rel=1e-4
        )
        assert 0 <= stage["contraction"]["symmetry_gap"] <= 1
        # The state has the image in it: fixing the memory cannot stretch more.
        if certain(stage):
            assert stage["contraction"]["image"] <= 1.04 * stage["contraction"]["state"]
        assert stage["step"]["converged"]
        radii = stage["attribution"]
        assert 0 < radii["radius_50"] <= radii["radius_95"] < 30
        assert stage["flow"]["estimate"] > 0 and stage["flow"]["weights"] > 0
    assert any(certain(stage) for stage in numbers["stages"])
    assert np.diag(numbers["flow_cosines"]) == pytest.approx([1, 1], abs=1e-5)


def test_the_shared_stage_at_its_own_depth_is_the_network(numbers):
    depth, stages = numbers["depth"], numbers["stages"]
    assert depth["trained"] == STAGES - 2
    assert {len(depth[name]) for name in ("residual", "change", "psnr", "psnr_result")} == {50}
    assert depth["psnr"][0] == pytest.approx(stages[1]["psnr_x"], abs=1e-3)
    assert depth["psnr"][1] == pytest.approx(stages[2]["psnr_x"], abs=1e-3)
    assert depth["psnr_result"][1] == pytest.approx(stages[3]["psnr_x"], abs=1e-3)
    assert depth["residual"][1] == pytest.approx(stages[2]["residual"], rel=1e-3)


def test_figures_and_report_are_written(analyzed, numbers):
    names = {path.name for path in analyzed.iterdir()}
    figures = {*numbers["sentences"], "stages"}
    assert names == {"analysis.json", "report.html", *(f"{name}.png" for name in figures)}
    page = (analyzed / "report.html").read_text()
    assert page.count("<img ") == len(figures)
    assert "model.safetensors: 4 stages, the middle ones share weights" in page
    assert "noisy.png: 24×24 of 53×27 pixels, from column 11 and row 1 on" in page
    assert re.fullmatch(r"[0-9a-f]{64}", numbers["checkpoint_sha256"])
    assert numbers["versions"]["jax"] == jax.__version__


def test_quickly_and_without_a_clean_picture(folder):
    plus = make("plus", num_stages=3, width=4, growth=2)
    dgunet_jax.save(folder / "plus.safetensors", *plus)
    words = ["--checkpoint", folder / "plus.safetensors", folder / "noisy.png", "--quick"]
    said = analyze(*words, "--output", folder / "quick")
    assert "3 stages, weights of their own" in said
    assert "Without the clean image there is no PSNR." in said
    numbers = json.loads((folder / "quick/analysis.json").read_text())
    assert numbers["input"] is numbers["depth"] is numbers["attribution"] is None
    assert "contraction" not in numbers["stages"][0] and "flow" not in numbers["stages"][0]
    assert (numbers["region"]["width"], numbers["region"]["height"]) == (48, 24)


def test_a_network_without_gradient_steps(folder):
    dgunet_jax.save(
        folder / "none.safetensors", *make("no_degradation", num_stages=3, width=4, growth=2)
    )
    words = ["--checkpoint", folder / "none.safetensors", folder / "noisy.png", "--size", 16]
    said = analyze(*words, "--quick", "--output", folder / "none")
    assert "There is no gradient step" in said and "Φ" not in said
    numbers = json.loads((folder / "none/analysis.json").read_text())
    assert {"stage", "psnr_v", "psnr_x", "ssim_v", "ssim_x"} | {
        *("residual", "change", "gradient_move", "proximal_move")
    } == {*numbers["stages"][0]}
    assert numbers["stages"][0]["residual"] is None
    assert {path.name for path in (folder / "none").glob("*.png")} == {"stages.png", "moves.png"}


def test_compressive_sensing(folder):
    """The operator is known and exact: what it says must be the theory's."""
    save(folder / "large.png", PHOTO[60:124, 100:170])
    sensing = make("sensing", num_stages=2, width=4, growth=2)
    dgunet_jax.save(folder / "cs.safetensors", *sensing)
    words = ["--checkpoint", folder / "cs.safetensors", folder / "large.png", "--quick"]
    analyze(*words, "--output", folder / "cs")
    numbers = json.loads((folder / "cs/analysis.json").read_text())
    matrix = np.asarray(sensing[1]["params"]["sampling_matrix"], np.float64)
    curvature = np.linalg.svd(matrix, compute_uv=False)[0] ** 2
    for stage in numbers["stages"]:
        assert stage["gradient"]["cosine"] == pytest.approx(1, abs=1e-5)
        assert stage["gradient"]["relative_error"] == pytest.approx(0, abs=1e-5)
        assert stage["adjointness"]["random"] == pytest.approx(0, abs=1e-3)
        if stage["step"]["converged"]:
            assert stage["step"]["curvature"] == pytest.approx(curvature, rel=2e-3)
        assert stage["step"]["curvature"] <= curvature * 1.0001
    assert "is the gradient of the data term in every stage" in numbers["sentences"]["gradient"]
    assert numbers["input"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.png"], "gone.png: no such file"),
        (["noisy.png", "--checkpoint", "gone.pth"], "gone.pth: there is no such file"),
        (["noisy.png", "--clean", "small.png"], "small.png: is 8×8 pixels large; noisy.png is 53"),
        (
            ["noisy.png", "--patch", "50", "0", "8", "8"],
            "noisy.png: patch 50 0 8 8 (X Y W H): must",
        ),
        (["noisy.png", "--size", "4"], "noisy.png: size 4: must be at least 8 pixels"),
        (["noisy.png", "--crop", "4"], "noisy.png: crop 4: must be at least 8 pixels"),
        (
            ["noisy.png", "--crop", "16", "--patch", "30", "5", "17", "8"],
            "noisy.png: patch 30 5 17 8 (X Y W H): must be at most 16×16 pixels large, as crop 16",
        ),
        (["noisy.png", "--seed", "-1"], "--seed -1: must be from 0 to 4294967295"),
        (["noisy.png", "--seed", "1" + "0" * 20], "0000: must be from 0 to 4294967295"),
        (["noisy.png", "--output", "n" * 300], "nnn: cannot be written: File name too long"),
        (["noisy.png", "--output", "/proc/bad"], "/proc/bad: cannot be written: "),
        (["noisy.png", "--checkpoint", "run"], "run.json: is no record of a run: "),
        (["noisy.png", "--checkpoint", "other"], "run.json: loss 'l1' of 'all': the losses are"),
        (["tiny.png"], "tiny.png: 5×4 pixels: must be at least 8×8"),
        (["noisy.png", "--output", "noisy.png"], "noisy.png is not a directory"),
        (["noisy.png", "--output", "noisy.png/out"], "noisy.png is not a directory"),
        (["noisy.png", "--patch", "1", "2"], "expected 4 arguments"),
    ],
)
def test_mistakes_are_one_line(folder, model, words, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    save(Path("small.png"), PHOTO[:8, :8])
    save(Path("tiny.png"), PHOTO[:4, :5])
    for name, record in (("run", "[]"), ("other", run_of("l1"))):
        as_run(Path(name), model, record)
    given = ["--checkpoint", "model.safetensors", "--output", "bad", "--no-cache"]
    status = main(["analyze", *given, *words])
    said = capsys.readouterr()
    assert status == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in said.err
    assert not Path("bad").exists()


def run_of(loss, stages="all"):
    return json.dumps([{"config": {"optimizer": {"loss": loss, "loss_stages": stages}}}])


def as_run(folder, model, record):
    """A run's working directory with one checkpoint."""
    if not folder.exists():
        dgunet_jax.save(folder / "checkpoints/1", *model)
        (folder / "run.json").write_text(record)


@pytest.fixture
def measured(monkeypatch):
    """Runs of the command whose measures are made by hand; what they were asked for."""
    asked = []

    def study(*arguments, **settings):
        asked.append(settings)
        loss = {name: settings[name] for name in ("loss", "loss_stages")}
        return made({}, {}, quick=settings["quick"], **loss)

    monkeypatch.setattr("dgunet_jax.analysis.command.study", study)
    return asked


def test_the_loss_is_that_of_the_run(folder, model, measured, tmp_path, capsys):
    pictures = [str(folder / "noisy.png"), "--clean", str(folder / "clean.png"), "--no-cache"]
    as_run(tmp_path / "run", model, run_of("clamped_squares", "last"))
    words = ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "out")]
    assert main(["analyze", *pictures, *words]) == 0
    assert measured[0]["loss"] == "clamped_squares" and measured[0]["loss_stages"] == "last"
    said = capsys.readouterr().out
    assert "loss clamped_squares of the last stage, as the run was trained" in said
    assert "L is the loss clamped_squares, of the last stage." in said
    numbers = json.loads((tmp_path / "out/analysis.json").read_text())
    assert (numbers["loss"], numbers["loss_stages"]) == ("clamped_squares", "last")
    words[1] = str(folder / "model.safetensors")
    assert main(["analyze", *pictures, *words]) == 0
    assert measured[1]["loss"] == "charbonnier_edge" and measured[1]["loss_stages"] == "all"
    assert "as the checkpoint does not tell its own" in capsys.readouterr().out


def test_figures_of_an_earlier_analysis_go(folder, model, measured, tmp_path):
    words = ["--checkpoint", str(folder / "model.safetensors"), str(folder / "noisy.png")]
    words += ["--no-cache", "--output", str(tmp_path)]
    (tmp_path / "mine.png").touch()
    assert main(["analyze", *words]) == 0
    assert (tmp_path / "attribution.png").exists()
    assert main(["analyze", *words, "--quick"]) == 0
    figures = {"stages", *json.loads((tmp_path / "analysis.json").read_text())["sentences"]}
    assert {path.stem for path in tmp_path.glob("*.png")} == {"mine", *figures}
    assert "attribution" not in figures


def test_names_need_not_be_text(folder, model, measured, tmp_path, capsys):
    picture = tmp_path / os.fsdecode(b"caf\xe9.png")
    picture.write_bytes((folder / "noisy.png").read_bytes())
    words = ["--checkpoint", str(folder / "model.safetensors"), str(picture), "--quick"]
    output = tmp_path / os.fsdecode(b"\xff")
    assert main(["analyze", *words, "--no-cache", "--output", str(output)]) == 0
    assert r"caf\xe9.png: " in capsys.readouterr().out
    assert r"caf\xe9.png: " in (output / "report.html").read_text()
    assert json.loads((output / "analysis.json").read_text())["image"].endswith(r"/caf\xe9.png")


def test_one_middle_stage_shares_with_none(folder, measured, tmp_path, capsys):
    dgunet_jax.save(tmp_path / "three.safetensors", *network(width=4, growth=2, num_stages=3))
    words = ["--checkpoint", str(tmp_path / "three.safetensors"), str(folder / "noisy.png")]
    assert main(["analyze", *words, "--no-cache", "--output", str(tmp_path / "out")]) == 0
    assert "3 stages, weights of their own" in capsys.readouterr().out


def test_numbers_that_overflow_end_in_a_report(folder, model, tmp_path):
    """Finite estimates whose squares are not."""
    definition, variables = model
    params = dict(variables["params"])
    tail = jax.tree.map(lambda leaf: leaf * 1e22, params["last"]["tail"])
    params["last"] = {**params["last"], "tail": tail}
    dgunet_jax.save(tmp_path / "huge.safetensors", definition, {"params": params})
    words = ["--checkpoint", tmp_path / "huge.safetensors", folder / "noisy.png", "--size", 16]
    words += ["--clean", folder / "clean.png", "--crop", 8]
    said = analyze(*words, "--output", tmp_path / "out")
    numbers = json.loads((tmp_path / "out/analysis.json").read_text())
    assert numbers["stages"][-1]["change"] is None
    assert "None" not in said and "nan" not in said
