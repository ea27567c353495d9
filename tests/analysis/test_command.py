"""`dgunet analyze` from the command to its files, on networks of random weights."""

import hashlib
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
from dgunet_jax import checkpoints
from dgunet_jax.analysis import progress
from dgunet_jax.cli import main
from dgunet_jax.metrics import psnr
from dgunet_jax.models.unfold import trace, unfold
from tests.analysis.studies import made
from tests.choices import make
from tests.evaluation.folders import PHOTO, save
from tests.quick import compiler_options
from tests.small import network

STAGES = 4
PLACE = (slice(5, 21), slice(15, 31))  # of 27×53 pixels, the 16×16 around the patch
ALL = """
import contextlib, json, sys
from dgunet_jax.cli import main
for words in json.loads(sys.argv[1]):
    with open(words[-1] + ".txt", "w") as file, contextlib.redirect_stdout(file):
        assert main(words) == 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noisy and clean images of an odd size, and a larger one."""
    folder = tmp_path_factory.mktemp("analysis")
    clean = PHOTO[60:87, 100:153]
    noise = 20 * np.random.default_rng(0).standard_normal(clean.shape)
    save(folder / "clean.png", clean)
    save(folder / "noisy.png", np.rint(clean + noise).clip(0, 255).astype(np.uint8))
    save(folder / "large.png", PHOTO[60:124, 100:170])
    return folder


@pytest.fixture(scope="module")
def model(folder):
    made = network(width=4, growth=2, last_growth=2, num_stages=STAGES)
    dgunet_jax.save(folder / "model.safetensors", *made)
    return made


@pytest.fixture(scope="module")
def sensing(folder):
    made = make("sensing", num_stages=2, width=4, growth=2)
    dgunet_jax.save(folder / "cs.safetensors", *made)
    return made


@pytest.fixture(scope="module")
def analyzed(folder, model, sensing):
    """Returns the numbers of an analysis by its name; all are made in one process."""
    params = dict(model[1]["params"])
    tail = jax.tree.map(lambda leaf: leaf * 1e22, params["last"]["tail"])
    params["last"] = {**params["last"], "tail": tail}
    dgunet_jax.save(folder / "huge.safetensors", model[0], {"params": params})
    none = make("no_degradation", num_stages=2, width=4, growth=2)
    dgunet_jax.save(folder / "none.safetensors", *none)
    clean = ["noisy.png", "--clean", "clean.png", "--size", "16", "--patch", "20", "8", "6", "10"]
    runs = {
        "model": clean,
        "huge": clean,
        "none": ["noisy.png", "--size", "16", "--quick"],
        "cs": ["large.png", "--quick"],
    }
    commands = [
        ["analyze", "--checkpoint", f"{name}.safetensors", *words, "--no-cache", "--output", name]
        for name, words in runs.items()
    ]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    words = [sys.executable, "-c", ALL, json.dumps(commands)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lambda name: json.loads((folder / name / "analysis.json").read_text())


@pytest.fixture(scope="module")
def numbers(analyzed):
    return analyzed("model")


@pytest.fixture(scope="module")
def computed(folder, model):
    """The region, clean and as input, and what the network makes of it."""
    clean, inputs = (
        np.asarray(Image.open(folder / f"{name}.png"), np.float32)[PLACE] / np.float32(255)
        for name in ("clean", "noisy")
    )
    run = jax.jit(trace, compiler_options=compiler_options())
    return clean, inputs, run(unfold(*model), jnp.asarray(inputs)[None])


def test_region_holds_the_patch(numbers):
    assert numbers["region"] == {"x": 15, "y": 5, "width": 16, "height": 16}
    assert numbers["attribution"]["crop"] == numbers["region"]
    assert numbers["attribution"]["patch"] == {"x": 5, "y": 3, "width": 6, "height": 10}


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


def test_every_measure_is_there_and_in_its_range(numbers):
    for stage in numbers["stages"]:
        assert -1 <= stage["gradient"]["cosine"] <= 1
        assert -1 <= stage["gradient"]["towards_clean"] <= 1
        assert 0 <= stage["adjointness"]["random"] <= 1
        step, stretch, radii = stage["step"], stage["contraction"], stage["attribution"]
        assert step["product"] == pytest.approx(step["step_size"] * step["curvature"], rel=1e-4)
        assert step["converged"]
        assert 0 <= stretch["symmetry_gap"] <= 1
        # The state has the image in it: fixing the memory cannot stretch more.
        if stretch["image_converged"] and stretch["state_converged"]:
            assert stretch["image"] <= 1.04 * stretch["state"]
        assert 0 < radii["radius_50"] <= radii["radius_95"] < 30
        assert stage["flow"]["estimate"] > 0 and stage["flow"]["weights"] > 0
    assert any(stage["contraction"]["image_converged"] for stage in numbers["stages"])
    assert np.diag(numbers["flow_cosines"]) == pytest.approx([1, 1], abs=1e-5)


def test_depth_of_the_network_itself_is_the_network(numbers):
    depth, stages = numbers["depth"], numbers["stages"]
    assert depth["trained"] == STAGES - 2
    assert {len(depth[name]) for name in ("residual", "change", "psnr", "psnr_result")} == {50}
    assert depth["psnr"][0] == pytest.approx(stages[1]["psnr_x"], abs=1e-3)
    assert depth["psnr"][1] == pytest.approx(stages[2]["psnr_x"], abs=1e-3)
    assert depth["psnr_result"][1] == pytest.approx(stages[3]["psnr_x"], abs=1e-3)
    assert depth["residual"][1] == pytest.approx(stages[2]["residual"], rel=1e-3)


def test_files_are_written(folder, numbers):
    names = {path.name for path in (folder / "model").iterdir()}
    figures = {*numbers["sentences"], "stages"}
    assert names == {"analysis.json", "report.html", *(f"{name}.png" for name in figures)}
    page = (folder / "model/report.html").read_text()
    assert page.count("<img ") == len(figures) == 10
    assert "model.safetensors: 4 stages, the middle ones share weights" in page
    assert "noisy.png: 16×16 of 53×27 pixels, from column 15 and row 5 on" in page
    assert re.fullmatch(r"[0-9a-f]{64}", numbers["checkpoint_sha256"])
    assert numbers["versions"]["jax"] == jax.__version__


def test_numbers_that_overflow_end_in_a_report(folder, analyzed):
    """Finite estimates whose squares are not."""
    assert analyzed("huge")["stages"][-1]["change"] is None
    said = (folder / "huge.txt").read_text()
    assert not re.search(r"None|\bnan", said)


def test_quick_analysis_without_gradient_steps_and_clean_image(folder, analyzed):
    numbers, said = analyzed("none"), (folder / "none.txt").read_text()
    assert "2 stages, weights of their own" in said
    assert "There is no gradient step" in said and "Φ" not in said
    assert numbers["input"] is numbers["depth"] is numbers["attribution"] is None
    assert [*numbers["stages"][0]] == [
        *("stage", "psnr_v", "ssim_v", "psnr_x", "ssim_x"),
        *("residual", "change", "gradient_move", "proximal_move"),
    ]
    assert {path.name for path in (folder / "none").glob("*.png")} == {"stages.png", "moves.png"}


def test_compressive_sensing_has_a_true_gradient(analyzed, sensing):
    """The operator is known and exact, so that its measures are those of theory."""
    numbers = analyzed("cs")
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
        (["noisy.png", "--checkpoint", "run"], "run.json: not the record of a run: "),
        (
            ["noisy.png", "--checkpoint", "other"],
            "run.json: not the record of a run: loss 'l1' of 'all'",
        ),
        (["tiny.png"], "tiny.png: 5×4 pixels: must be at least 8×8"),
        (["noisy.png", "--output", "noisy.png"], "noisy.png is not a directory"),
        (["noisy.png", "--output", "noisy.png/out"], "noisy.png is not a directory"),
        (["noisy.png", "--patch", "1", "2"], "expected 4 arguments"),
    ],
)
def test_analyze_refuses_mistakes_in_one_line(folder, model, words, message, monkeypatch, capsys):
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
    """Runs of the command get a study made by hand; returns their settings."""
    asked = []

    def analyze(*arguments, **settings):
        asked.append(settings)
        loss = {name: settings[name] for name in ("loss", "loss_stages")}
        return made(2, quick=settings["quick"], fields=loss)

    monkeypatch.setattr("dgunet_jax.analysis.command.analyze", analyze)
    return asked


def test_loss_is_that_of_the_run(folder, model, measured, tmp_path, capsys):
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
    assert "as the checkpoint does not name its own" in capsys.readouterr().out


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


def test_file_names_need_not_be_text(folder, model, measured, tmp_path, capsys):
    picture = tmp_path / os.fsdecode(b"caf\xe9.png")
    picture.write_bytes((folder / "noisy.png").read_bytes())
    words = ["--checkpoint", str(folder / "model.safetensors"), str(picture), "--quick"]
    output = tmp_path / os.fsdecode(b"\xff")
    assert main(["analyze", *words, "--no-cache", "--output", str(output)]) == 0
    assert r"caf\xe9.png: " in capsys.readouterr().out
    assert r"caf\xe9.png: " in (output / "report.html").read_text()
    assert json.loads((output / "analysis.json").read_text())["image"].endswith(r"/caf\xe9.png")


def test_one_middle_stage_has_weights_of_its_own(folder, measured, tmp_path, capsys):
    dgunet_jax.save(tmp_path / "three.safetensors", *network(width=4, growth=2, num_stages=3))
    words = ["--checkpoint", str(tmp_path / "three.safetensors"), str(folder / "noisy.png")]
    assert main(["analyze", *words, "--no-cache", "--output", str(tmp_path / "out")]) == 0
    assert "3 stages, weights of their own" in capsys.readouterr().out


def test_an_installed_network_is_analysed_by_its_name(folder, measured, tmp_path):
    words = ["--checkpoint", "denoise", str(folder / "noisy.png"), "--no-cache", "--quick"]
    assert main(["analyze", *words, "--output", str(tmp_path / "out")]) == 0
    numbers = json.loads((tmp_path / "out/analysis.json").read_text())
    content = checkpoints.installed_file("denoise").read_bytes()
    assert numbers["checkpoint"] == "denoise"
    assert numbers["checkpoint_sha256"] == hashlib.sha256(content).hexdigest()


def test_several_pictures_have_folders_of_their_own(folder, model, measured, tmp_path, capsys):
    words = ["--checkpoint", str(folder / "model.safetensors"), "--no-cache", "--quick"]
    pictures = [str(folder / "noisy.png"), str(folder / "large.png")]
    out = ["--output", str(tmp_path / "out")]
    assert main(["analyze", *words, *pictures, *out]) == 0
    for name in ("noisy", "large"):
        numbers = json.loads((tmp_path / "out" / name / "analysis.json").read_text())
        assert numbers["image"].endswith(f"/{name}.png")
    clean = ["--clean", str(folder / "clean.png")]
    assert main(["analyze", *words, *pictures, *clean, *out]) == 2
    assert "--clean: is given 1 times, for 2 pictures" in capsys.readouterr().err
    assert main(["analyze", *words, *pictures[:1] * 2, *out]) == 2
    assert "must have different names" in capsys.readouterr().err
