"""`dgunet evaluate` on small data sets."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import Restorer
from dgunet_jax.cli import main
from dgunet_jax.evaluation import scoring
from dgunet_jax.evaluation.measures import compare
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.evaluation.samples import to_float
from dgunet_jax.images.reading import read
from dgunet_jax.lock import locked
from tests.evaluation.folders import clean, degraded, pairs, save
from tests.small import network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    dgunet_jax.save(path, *network(num_stages=2))
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def evaluate(capsys):
    """Runs the command; its status, and what it wrote to the two streams."""

    def run(*arguments, output="out"):
        status = main(["evaluate", "--output", str(output), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def results(folder="out"):
    return json.loads(Path(folder, "results.json").read_text())


def errors(said):
    return [line for line in said.splitlines() if line.startswith("error: ")]


def test_a_checkpoint_gets_the_scores_of_its_pictures(evaluate, checkpoint):
    pairs(Path("data"), 3)
    status, said, _ = evaluate(
        "--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint, "--save-images"
    )
    assert status == 0
    restorer = Restorer(*network(num_stages=2))
    expected = [
        compare(PROTOCOLS["rgb"], restorer(to_float(degraded(i))), clean(i)) for i in range(3)
    ]
    found = results()
    assert found["protocol"] == "rgb"
    assert [each["name"] for each in found["images"]] == ["0", "1", "2"]
    values = [(each["psnr"], each["ssim"]) for each in found["images"]]
    np.testing.assert_allclose(values, expected, atol=1e-3)
    assert list(found["mean"].values()) == pytest.approx(np.mean(values, axis=0).tolist())
    made = found["provenance"]
    assert made["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert made["versions"]["dgunet_jax"] == dgunet_jax.__version__
    assert {"jax", "numpy", "python"} <= {*made["versions"]}
    with Path("out/images.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(float(row["psnr"]), float(row["ssim"])) for row in table] == values
    for i in range(3):
        saved = to_float(read(f"out/images/{i}.png").pixels)
        assert compare(PROTOCOLS["rgb"], saved, clean(i)) == values[i]
    assert "(protocol rgb)" in said
    assert f"net.safetensors  {found['mean']['psnr']:7.3f}  {found['mean']['ssim']:.4f}" in said


def test_pictures_that_are_restored_already(evaluate):
    for sequence in ("a", "b"):
        pairs(Path("data/test", sequence), 2, ("blur", "sharp"))
    save(Path("done/a-0.png"), degraded(0, 3))  # by its name,
    save(Path("done/a/1.bmp"), degraded(1, 3))  # as it lies,
    save(Path("done/b/blur/0.png"), degraded(0, 3))  # as `dgunet restore` writes it,
    save(Path("done/1.png"), degraded(1, 3))  # and one that could be any sequence's
    status, said, warned = evaluate("--dataset", "gopro", "--data", "data", "--restored", "done")
    assert status == 2
    assert errors(warned) == ["error: done: holds no restored picture of b-1"]
    found = results()
    assert found["failures"] == ["done: holds no restored picture of b-1"]
    scores = {each["name"]: (each["psnr"], each["ssim"]) for each in found["images"]}
    for name, i in (("a-0", 0), ("a-1", 1), ("b-0", 0)):
        expected = compare(PROTOCOLS["gopro"], to_float(degraded(i, 3)), clean(i))
        assert scores.pop(name) == expected
    assert not scores
    assert "GoPro test (protocol gopro)" in said
    assert "3 of the 1111 pictures, 1 failed" in said
    assert "DGUNet, published     32.71   0.960" in said
    assert "DGUNet+, published    33.17   0.963" in said


def test_equal_pictures_are_valid_json(evaluate):
    pairs(Path("data"), 2)
    assert evaluate("--protocol", "luma", "--data", "data", "--restored", "data/target")[0] == 0
    mean = results()["mean"]
    assert (float(mean["psnr"]), mean["ssim"]) == (np.inf, 1)


def test_what_fails_is_named_and_the_rest_is_scored(evaluate, checkpoint):
    pairs(Path("data"), 6)
    Path("data/target/1.png").unlink()
    save(Path("data/target/2.png"), clean(2)[:, 1:])
    content = Path("data/input/3.png").read_bytes()
    Path("data/input/3.png").write_bytes(content[:-40])  # its header can be read
    Path("data/target/4.png").write_text("words")
    status, _, warned = evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint)
    assert status == 2
    named = errors(warned)
    for part in (
        "data/input/1.png: has no target in data/target",
        "data/input/2.png is 32×24 and data/target/2.png 31×24 pixels large",
        "data/input/3.png: ",
        "data/target/4.png: not a picture, or damaged",
    ):
        assert sum(line.startswith(f"error: {part}") for line in named) == 1, part
    assert len(named) == 4
    assert "4 failed\n" in warned
    assert [each["name"] for each in results()["images"]] == ["0", "5"]
    assert sorted(results()["failures"]) == sorted(line[len("error: ") :] for line in named)
    # Once they are repaired, they are scored, and what has changed since, and nothing else.
    for i in range(1, 5):
        save(Path(f"data/input/{i}.png"), degraded(i))
        save(Path(f"data/target/{i}.png"), clean(i))
    os.utime("data/input/0.png", (1, 1))
    status, said, _ = evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint)
    assert status == 0
    assert {line.split(":")[0] for line in said.splitlines() if " dB, " in line} == set("01234")
    assert len(results()["images"]) == 6


def test_an_interrupted_evaluation_goes_on(evaluate, checkpoint, monkeypatch):
    pairs(Path("data"), 6)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*arguments, output="whole")[0] == 0
    done = []

    def stopping(*words):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(words)
        return compare(*words)

    monkeypatch.setattr(scoring, "compare", stopping)
    assert evaluate(*arguments)[0] == 130
    assert not Path("out/results.json").exists()
    monkeypatch.setattr(scoring, "compare", compare)
    status, said, warned = evaluate(*arguments)
    assert status == 0
    kept = int(warned.split(" of 6 pictures are scored already")[0].split()[-1])
    assert 1 <= kept <= 3
    assert said.count(" dB, ") == 6 - kept
    for name in ("results.json", "images.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    report = Path("out/report.html").read_text()
    assert report.count("data:image/png;base64,") == 6 * 4


def test_a_limit_takes_the_first_and_the_rest_may_follow(evaluate):
    pairs(Path("data"), 4)
    arguments = ["--protocol", "rgb", "--data", "data", "--restored", "data/input"]
    assert evaluate(*arguments, "--limit", 2)[0] == 0
    assert [each["name"] for each in results()["images"]] == ["0", "1"]
    status, _, warned = evaluate(*arguments)
    assert status == 0
    assert "2 of 4 pictures are scored already" in warned
    assert len(results()["images"]) == 4


def test_noise_is_added_to_clean_pictures(evaluate, checkpoint):
    for i in range(2):
        save(Path("data", f"{i}.png"), clean(i))
    words = ["--dataset", "kodak24_15", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*words)[0] == 0
    first = results()
    assert evaluate(*words, output="again")[0] == 0
    assert results("again") == first
    assert first["published"][0]["psnr"] == 34.56


def test_self_ensemble_is_another_evaluation(evaluate, checkpoint):
    pairs(Path("data"), 1)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*arguments)[0] == 0
    status, _, said = evaluate(*arguments, "--self-ensemble")
    assert status == 2
    assert errors(said) == [
        "error: out: holds another evaluation (self_ensemble False, now True);"
        " choose another --output"
    ]


def test_a_suite_averages_its_data_sets(evaluate):
    for name in ("Test100", "Rain100H", "Rain100L", "Test2800", "Test1200"):
        pairs(Path("data", name), 2)
        shutil.copytree(Path("data", name, "input"), Path("done", name))
    status, said, _ = evaluate("--dataset", "derain", "--data", "data", "--restored", "done")
    assert status == 0
    for name in ("Test100", "average"):
        assert f"\n{name} " in said
    assert "DGUNet+, published    33.46   0.927" in said
    assert results()["mean"]["psnr"] == pytest.approx(results("out/Rain100L")["mean"]["psnr"])
    shutil.rmtree("data/Test2800")
    status, said, warned = evaluate(
        "--dataset", "derain", "--data", "data", "--restored", "done", output="less"
    )
    assert status == 2
    assert errors(warned) == ["error: data/Test2800: no such folder"]
    assert results("less")["mean"] is None


def test_check_says_what_is_missing(evaluate, capsys):
    pairs(Path("data"), 3)
    Path("data/target/1.png").unlink()
    status, said, warned = evaluate("--dataset", "lol", "--data", "data", "--check")
    assert status == 2
    assert said == "LOL test: 2 pictures that can be scored in data\n"
    assert errors(warned) == [
        "error: data/input/1.png: has no target in data/target",
        "error: LOL test has 15 pictures; 2 of them can be scored here",
    ]
    pairs(Path("data"), 15)
    status, said, warned = evaluate("--dataset", "lol", "--data", "data", "--check")
    assert (status, warned) == (0, "")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nope", "--restored", "data/input"], "unknown data set 'nope'"),
        (["--restored", "data/input"], "one of the arguments --dataset --protocol is required"),
        (["--protocol", "rgb"], "one of --checkpoint, --restored and --check is needed"),
        (["--protocol", "rgb", "--checkpoint", "gone.pth"], "gone.pth: there is no such file"),
        (["--protocol", "rgb", "--restored", "gone"], "gone: no such folder"),
        (["--protocol", "rgb", "--restored", "data/input", "--limit", "0"], "--limit 0: must be"),
        (
            ["--protocol", "rgb", "--restored", "data/input", "--self-ensemble"],
            "--self-ensemble: is for a checkpoint",
        ),
        (["--protocol", "rgb", "--restored", "data/input", "--output", "data/out"], "must not be"),
        (["--protocol", "rgb", "--data", "gone", "--restored", "data/input"], "gone: no such"),
    ],
)
def test_mistakes_are_one_line(evaluate, arguments, message):
    pairs(Path("data"), 1)
    status, _, said = evaluate("--data", "data", *arguments)
    assert status == 2
    (error,) = errors(said)
    assert message in error
    assert not Path("out").exists()


def test_two_evaluations_at_once_are_refused(evaluate):
    pairs(Path("data"), 1)
    with locked(Path("out")):
        status, _, said = evaluate(
            "--protocol", "rgb", "--data", "data", "--restored", "data/input"
        )
    assert status == 2
    (error,) = errors(said)
    assert error.startswith("error: out: another run is using it")


def test_a_run_is_evaluated_through_its_config(evaluate, checkpoint):
    """`--mode evaluate --dataset` is `dgunet evaluate` of the working directory."""
    pairs(Path("data"), 2)
    Path("run").mkdir()
    shutil.copy(checkpoint, "run/model.safetensors")
    dgunet_jax.save("run/checkpoints/1", *dgunet_jax.load(checkpoint))
    repository = Path(dgunet_jax.__file__).parents[1]
    words = [sys.executable, "-m", "dgunet_jax.main", "--config"]
    words += [f"{repository}/tests/training/toy.py", "--workdir", "run", "--mode", "evaluate"]
    environment = os.environ | {"PYTHONPATH": str(repository)}

    def run(*more):
        return subprocess.run(
            [*words, "--nocache", *more], env=environment, capture_output=True, text=True
        )

    done = run("--dataset", "rgb", "--data", "data")
    assert done.returncode == 0, done.stderr
    assert "(protocol rgb)" in done.stdout
    assert evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", "run")[0] == 0
    assert results("run/evaluation/rgb")["images"] == results()["images"]
    for more, message in (
        (["--dataset", "rgb"], "--dataset and --data go together; one of them is missing"),
        (["--dataset", "nope", "--data", "data"], "unknown data set 'nope'"),
        (["--dataset", "rgb", "--data", "data", "--mode", "dry_run"], "is for --mode evaluate"),
    ):
        failed = run(*more)
        assert failed.returncode == 2
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr


def test_several_devices_give_the_table_of_one(evaluate, checkpoint):
    pairs(Path("data"), 3)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", str(checkpoint)]
    assert evaluate(*arguments)[0] == 0
    words = [sys.executable, "-m", "dgunet_jax.cli", "evaluate", *arguments, "--output", "two"]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment["PYTHONPATH"] = str(Path(dgunet_jax.__file__).parents[1])
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    assert "compiling for arrays of 2×" in done.stderr  # one for each device
    assert len(results("two")["provenance"]["devices"]) == 2
    values = [[tuple(x.values())[1:] for x in results(f)["images"]] for f in ("out", "two")]
    np.testing.assert_allclose(values[0], values[1], atol=0.02)
