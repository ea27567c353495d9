"""`dgunet evaluate`: what it writes, reports and refuses."""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dgunet_jax
from dgunet_jax.evaluation import samples
from dgunet_jax.evaluation.protocols import SUITES
from dgunet_jax.system.files import locked
from tests.choices import make
from tests.evaluation.folders import clean, degraded, errors, pairs, results, save


@pytest.mark.parametrize("how", [["--check"], ["--restored", "data/input"]])
def test_evaluate_refuses_a_folder_that_holds_too_much_or_nothing(evaluate, how):
    pairs(Path("data"), 16)
    words = ["--dataset", "lol", "--data", "data", *how]
    status, said, warned = evaluate(*words)
    assert (status, said) == (2, "")
    (error,) = errors(warned)
    assert "data: holds 16 pictures, but LOL test has 15; name the folder that" in error
    shutil.rmtree("data")
    for kind in ("input", "target"):
        Path("data", kind).mkdir(parents=True)
    status, said, warned = evaluate(*words)
    assert (status, said) == (2, "")
    (error,) = errors(warned)
    assert "data: holds no pictures" in error
    assert not Path("out").exists()


def test_evaluate_names_ten_of_many_bad_images(evaluate):
    pairs(Path("data"), 13)
    shutil.rmtree("data/target")
    Path("data/target").mkdir()
    status, _, warned = evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")
    assert status == 2
    (error,) = errors(warned)
    assert error.startswith("error: data: nothing can be scored; pictures that failed (13): ")
    assert error.count("no target") == 10
    assert error.endswith(" and 3 more")


def test_evaluate_names_files_of_any_bytes(here):
    """In a process of its own, whose streams take nothing but UTF-8, as those of a terminal."""
    bad = [os.fsdecode(each) for each in (b"b\xfcd", b"\xe4.png", b"r\xe9adme.txt", b"m\xf6")]
    data = pairs(Path(bad[0]), 2)
    for kind in ("input", "target"):
        (data / kind / "1.png").rename(data / kind / bad[1])
    (data / "input" / bad[2]).write_text("words")
    done = shutil.copytree(data / "input", bad[3])
    words = [sys.executable, "-m", "dgunet_jax.cli", "evaluate", "--protocol", "rgb"]
    words += ["--data", f"{data}", "--output", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(dgunet_jax.__file__).parents[1])}
    environment["PYTHONIOENCODING"] = "utf-8:strict"
    line = "error: b\\xfcd/input/\\xe4.png: its name is not UTF-8; rename it\n"
    ended = subprocess.run([*words, "--restored", done], env=environment, capture_output=True)
    assert ended.returncode == 2
    warned = ended.stderr.decode()
    assert line in warned
    assert "left out, not a picture: b\\xfcd/input/r\\xe9adme.txt" in warned
    assert "Traceback" not in warned
    assert ": m\\xf6" in Path("out/report.html").read_text()
    assert [each["name"] for each in results()["images"]] == ["0"]
    assert Path("out/images.csv").read_text().count("\n") == 2


def test_results_of_equal_images_are_valid_json(evaluate):
    pairs(Path("data"), 2)
    assert evaluate("--protocol", "luma", "--data", "data", "--restored", "data/target")[0] == 0
    mean = results()["mean"]
    assert (float(mean["psnr"]), mean["ssim"]) == (np.inf, 1)


def test_evaluate_with_self_ensemble_is_another_evaluation(evaluate, checkpoint):
    pairs(Path("data"), 1)
    arguments = ["--protocol", "rgb", "--data", "data", "--checkpoint", checkpoint]
    assert evaluate(*arguments)[0] == 0
    status, _, said = evaluate(*arguments, "--self-ensemble")
    assert status == 2
    assert errors(said) == [
        "error: out: holds another evaluation (self_ensemble False, now True);"
        " choose another --output"
    ]


def test_suite_averages_its_data_sets(evaluate):
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
    less = results("less")
    assert less["mean"] is None
    scores = dict.fromkeys(("psnr", "ssim", "input", "gain"))
    nothing = {**scores, "count": 0, "expected_count": 2800, "limit": None}
    assert less["members"]["Test2800"] == nothing
    assert less["members"]["Test100"].items() >= {"count": 2, "expected_count": 98}.items()
    assert re.search(r"\naverage .* 4 of 5 data sets, 4 of them incomplete\n", said)
    made = less["provenance"]
    assert made["restored"] == str(Path("done").resolve())
    assert made["versions"]["dgunet_jax"] == dgunet_jax.__version__


def test_suite_without_scores_is_written(evaluate):
    Path("data").mkdir()
    for name in ("one", "one"):  # again, over the first
        status, _, warned = evaluate(
            "--dataset", "derain", "--data", "data", "--restored", "done", output=name
        )
        assert status == 2
        assert len(errors(warned)) == 5
        assert results("one")["mean"] is None
        assert len(results("one")["failures"]) == 5


def test_suite_of_equal_images_is_valid_json(evaluate):
    for name, _ in SUITES["derain"].members:
        pairs(Path("data", name), 1)
        shutil.copytree(Path("data", name, "target"), Path("done", name))
    assert evaluate("--dataset", "derain", "--data", "data", "--restored", "done")[0] == 0
    mean = results()["mean"]
    assert (mean["psnr"], mean["ssim"], mean["gain"]) == ("Infinity", 1, None)


def test_suite_reads_its_checkpoint_once(evaluate, checkpoint, monkeypatch):
    for name, _ in SUITES["derain"].members:
        pairs(Path("data", name), 1)
    calls = []

    def counted(*words):
        calls.append(words)
        return read(*words)

    read = samples.read_aloud
    monkeypatch.setattr(samples, "read_aloud", counted)
    words = ["--dataset", "derain", "--data", "data"]
    assert evaluate(*words, "--checkpoint", checkpoint, "--limit", "1")[0] == 0
    assert len(calls) == 1
    made, sha256 = results()["provenance"], hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert made["checkpoint_sha256"] == sha256
    assert made["checkpoint"] == str(checkpoint)
    assert {each["limit"] for each in results()["members"].values()} == {1}
    # One that cannot be used, and one of another task.
    dgunet_jax.save("sensing.safetensors", *make("sensing", num_stages=2, width=4, growth=2))
    for path, message in (
        ("gone.pth", "gone.pth: there is no such file"),
        ("sensing.safetensors", "sensing.safetensors: takes 103 measurements"),
    ):
        status, said, warned = evaluate(*words, "--checkpoint", path, output="other")
        assert (status, said) == (2, "")
        (error,) = errors(warned)
        assert message in error
        assert not Path("other").exists()


def test_output_is_for_one_evaluation(evaluate):
    for name, _ in SUITES["derain"].members:
        pairs(Path("data", name), 1)
        shutil.copytree(Path("data", name, "input"), Path("done", name))
    suite = ["--dataset", "derain", "--data", "data"]
    single = ["--protocol", "rgb", "--data", "data/Rain100L", "--restored", "done/Rain100L"]

    def refused(*words, output):
        before = {path: path.read_bytes() for path in Path(output).rglob("*.*") if path.is_file()}
        status, said, warned = evaluate(*words, output=output)
        (error,) = errors(warned)
        assert (status, said) == (2, "")
        assert before == {path: path.read_bytes() for path in before}
        return error

    def holds(output, why=""):
        return f"error: {output}: holds another evaluation{why}; choose another --output"

    assert evaluate(*single, output="single")[0] == 0
    assert refused(*suite, "--restored", "done", output="single") == holds("single")
    assert evaluate(*suite, "--restored", "done", output="suite")[0] == 0
    assert refused(*single, output="suite") == holds("suite")
    shutil.copytree("done", "again")
    why = f" (restored {Path('done').resolve()}, now {Path('again').resolve()})"
    assert refused(*suite, "--restored", "again", output="suite") == holds("suite", why)
    error = refused("--dataset", "five", *suite[2:], "--restored", "done", output="suite")
    assert error == holds("suite", " (protocol derain, now five)")
    with locked(Path("suite")):
        error = refused(*suite, "--restored", "done", output="suite")
    assert error.startswith("error: suite: another run is using it")
    assert evaluate(*suite, "--restored", "done", output="suite")[0] == 0


def test_check_reports_what_is_missing(evaluate, capsys):
    pairs(Path("data"), 3)
    Path("data/target/1.png").unlink()
    status, said, warned = evaluate("--dataset", "lol", "--data", "data", "--check")
    assert status == 2
    assert said == "LOL test: 2 pictures that can be scored in data\n"
    assert errors(warned) == [
        "error: data/input/1.png: no target",
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
        (["--restored", "data/input"], "one of the arguments --dataset --protocol --degradation"),
        (["--protocol", "rgb"], "one of --checkpoint, --restored and --check is needed"),
        (["--protocol", "rgb", "--checkpoint", "gone.pth"], "gone.pth: there is no such file"),
        (["--protocol", "rgb", "--restored", "gone"], "gone: no such folder"),
        (["--protocol", "rgb", "--restored", "data/input", "--limit", "0"], "--limit 0: must be"),
        (
            ["--protocol", "rgb", "--restored", "data/input", "--self-ensemble"],
            "--self-ensemble: is for a checkpoint",
        ),
        *(
            (["--protocol", "rgb", *how, *option], f"{option[0]}: is for {why}")
            for how, why in ((["--restored", "data/input"], "a checkpoint"), (["--check"], "scori"))
            for option in (
                ["--memory", "6G"],
                ["--no-cache"],
                ["--mesh", "batch=1"],
                ["--tile", "64"],
                ["--dtype", "float32"],
                ["--num-stages", "2"],
            )
        ),
        (["--protocol", "rgb", "--check", "--limit", "1"], "--limit: is for scoring; --check"),
        (["--protocol", "rgb", "--check", "--save-images"], "--save-images: is for scoring"),
        (["--protocol", "rgb", "--check", "--no-self-ensemble"], "--self-ensemble: is for"),
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


def test_csv_quotes_names_that_are_formulas(evaluate):
    names = ["=1+1", "+2", "-3", "@SUM(A1)", "plain"]
    for i, name in enumerate(names):
        for kind in ("input", "target"):
            save(Path("data", kind, f"{name}.png"), clean(i))
    status, _, _ = evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")
    assert status == 0
    with Path("out/images.csv").open() as file:
        found = {row["name"] for row in csv.DictReader(file)}
    assert found == {"'=1+1", "'+2", "'-3", "'@SUM(A1)", "plain"}
    assert {each["name"] for each in results()["images"]} == {*names}


def test_evaluate_escapes_control_characters_in_names(evaluate):
    for kind in ("input", "target"):
        save(Path("data", kind, "a\x1b[31m\nb.png"), clean(1))
    status, said, _ = evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")
    assert status == 0
    for text in (said, Path("out/report.html").read_text(), Path("out/images.csv").read_text()):
        assert "\x1b" not in text
        assert r"a\x1b[31m\nb" in text


@pytest.mark.parametrize("how", [["--check"], ["--restored", "done"]])
def test_evaluate_reports_a_folder_that_may_not_be_read(evaluate, monkeypatch, how):
    pairs(Path("data"), 1)
    for place, call in (("data", "iterdir"), ("data/input", "iterdir"), ("data/input", "stat")):
        original = getattr(Path, call)

        def refuse(path, *rest, place=place, original=original, **more):
            if str(path) == place:
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *rest, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Path, call, refuse)
            status, _, said = evaluate("--protocol", "rgb", "--data", "data", *how)
        (line,) = said.splitlines()
        assert status == 2
        assert line.endswith(f"{place}: cannot be read: Permission denied")


def test_output_is_not_in_the_data_under_any_name(evaluate):
    pairs(Path("data"), 1)
    Path("DATA").symlink_to("data")
    Path("loop").symlink_to("loop")
    words = ["--protocol", "rgb", "--data", "data", "--restored", "data/input"]
    for output in ("data", "data/out", "DATA/out"):
        status, _, said = evaluate(*words, output=output)
        assert (status, "must not be in the data set's folder" in said) == (2, True)
    status, _, said = evaluate(*words, output="loop/out")
    (line,) = said.splitlines()
    assert (status, line.startswith("error: loop/out: cannot be ")) == (2, True)


def test_evaluate_finds_pairs_by_a_pattern(evaluate):
    for i in range(2):
        save(Path(f"data/x/{i}_wet.png"), degraded(i))
        save(Path(f"data/y/{i}_dry.png"), clean(i))
    words = ["--protocol", "rgb", "--data", "data", "--restored", "data"]
    status, _, said = evaluate(*words)
    assert (status, "holds no pairs" in said) == (2, True)
    status, _, said = evaluate(*words, "--pairs", "x/{}_wet.png -> y/{}_dry.png")
    assert (status, said) == (0, "")
    assert [each["name"] for each in results()["images"]] == ["x-0_wet", "x-1_wet"]
    status, _, said = evaluate(*words, "--pairs", "x/{}_wet.png")
    assert (status, "pairs is 'x/{}_wet.png'; it must be a pattern" in said) == (2, True)
    words = ["--dataset", "set11_25", "--data", "data", "--check", "--pairs", "{} -> {}"]
    status, _, said = evaluate(*words)
    assert (status, "does not consist of pairs of files" in said) == (2, True)


def test_training_command_evaluates_a_run(evaluate, checkpoint):
    """`--mode evaluate --dataset` is `dgunet evaluate` of the working directory."""
    pairs(Path("data"), 2)
    Path("run").mkdir()
    shutil.copy(checkpoint, "run/model.safetensors")
    dgunet_jax.save("run/checkpoints/1", *dgunet_jax.load(checkpoint))
    repository = Path(dgunet_jax.__file__).parents[1]
    words = [sys.executable, "-m", "dgunet_jax.main", "--config"]
    words += [f"{repository}/tests/training/toy.py", "--workdir", "run", "--mode", "evaluate"]
    words += ["--no-cache", "--dataset", "rgb", "--data", "data"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "(protocol rgb)" in done.stdout
    assert evaluate("--protocol", "rgb", "--data", "data", "--checkpoint", "run")[0] == 0
    assert results("run/evaluation/rgb")["images"] == results()["images"]


def test_processes_share_the_images_and_the_last_writes_the_results(evaluate):
    pairs(Path("data"), 5)
    shutil.copytree("data/input", "done")
    Path("done/3.png").write_bytes(Path("done/3.png").read_bytes()[:-60])
    words = ["--protocol", "rgb", "--data", "data", "--restored", "done"]
    status, _, warned = evaluate(*words)
    assert (status, len(errors(warned))) == (2, 1)
    alone = results()
    shutil.move("out", "alone")

    def share(i):
        return evaluate(*words, "--processes", "2", "--process", str(i))

    status, _, warned = share(1)
    assert status == 0
    assert "3 pictures left to other processes" in warned
    assert not Path("out/results.json").exists()
    status, _, warned = share(0)
    assert (status, len(errors(warned))) == (2, 1)
    assert {name: value for name, value in results().items() if name != "provenance"} == {
        name: value for name, value in alone.items() if name != "provenance"
    }
    # What one of them has scored is done again only if its line is gone.
    journal = Path("out/scores.1.jsonl")
    journal.write_bytes(journal.read_bytes()[:-3])
    Path("out/results.json").unlink()
    assert share(0)[0] == 0
    assert not Path("out/results.json").exists()
    assert share(1)[0] == 2
    assert results()["mean"] == alone["mean"]
