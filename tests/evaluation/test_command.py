"""`dgunet evaluate` on small data sets."""

import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import Restorer, UserError
from dgunet_jax.cli import main
from dgunet_jax.evaluation import restoring, scoring
from dgunet_jax.evaluation.protocols import PROTOCOLS, SUITES
from dgunet_jax.evaluation.real_noise import Submission
from dgunet_jax.evaluation.restoring import Restoring
from dgunet_jax.evaluation.samples import Degraded, Restored, Sample, to_float
from dgunet_jax.evaluation.scores import compare
from dgunet_jax.evaluation.scoring import Comparison
from dgunet_jax.images.reading import read
from dgunet_jax.system.files import locked
from dgunet_jax.system.provenance import versions
from tests.choices import make
from tests.evaluation.disk import full_disk
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


def test_a_sequence_without_targets_is_named_and_the_rest_is_scored(evaluate):
    for sequence in ("a", "b"):
        pairs(Path("data/test", sequence), 1, ("blur", "sharp"))
    shutil.rmtree("data/test/b/sharp")
    save(Path("done/a-0.png"), degraded(0, 3))
    line = "error: data/test/b/blur/0.png: has no target in data/test/b/sharp"
    status, said, warned = evaluate("--dataset", "gopro", "--data", "data", "--restored", "done")
    assert (status, errors(warned)) == (2, [line])
    assert "1 of the 1111 pictures, 1 failed" in said
    status, said, warned = evaluate("--dataset", "gopro", "--data", "data", "--check")
    assert (status, errors(warned)[0]) == (2, line)
    assert "1 picture that can be scored" in said


@pytest.mark.parametrize("how", [["--check"], ["--restored", "data/input"]])
def test_a_folder_that_holds_too_much_or_nothing_is_told(evaluate, how):
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


def test_of_many_bad_pictures_ten_are_named(evaluate):
    pairs(Path("data"), 13)
    shutil.rmtree("data/target")
    Path("data/target").mkdir()
    status, _, warned = evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")
    assert status == 2
    (error,) = errors(warned)
    assert error.startswith("error: data: nothing can be scored; pictures that failed (13): ")
    assert error.count("has no target") == 10
    assert error.endswith(" and 3 more")


def test_names_of_any_bytes_are_told_and_the_rest_is_scored(checkpoint, tmp_path):
    """In a process of its own, whose streams take nothing but UTF-8, as those of a terminal."""
    bad = [os.fsdecode(each) for each in (b"b\xfcd", b"\xe4.png", b"r\xe9adme.txt", b"m\xf6")]
    data = pairs(Path(bad[0]), 2)
    for kind in ("input", "target"):
        (data / kind / "1.png").rename(data / kind / bad[1])
    (data / "input" / bad[2]).write_text("words")
    network_file = shutil.copy(checkpoint, f"{bad[3]}.safetensors")
    words = [sys.executable, "-m", "dgunet_jax.cli", "evaluate", "--protocol", "rgb"]
    words += ["--data", f"{data}", "--output", "out"]
    environment = os.environ | {"PYTHONPATH": str(Path(dgunet_jax.__file__).parents[1])}
    environment["PYTHONIOENCODING"] = "utf-8:strict"
    line = "error: b\\xfcd/input/\\xe4.png: its name is not UTF-8; rename it\n"
    for more in (["--checkpoint", network_file], ["--check"]):
        done = subprocess.run([*words, *more], env=environment, capture_output=True)
        assert done.returncode == 2
        warned = done.stderr.decode()
        assert line in warned
        assert "left out, not a picture: b\\xfcd/input/r\\xe9adme.txt" in warned
        assert "Traceback" not in warned
    assert "m\\xf6.safetensors" in Path("out/report.html").read_text()
    assert [each["name"] for each in results()["images"]] == ["0"]
    assert Path("out/images.csv").read_text().count("\n") == 2


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


def test_pictures_are_those_of_the_scores(evaluate):
    pairs(Path("data"), 2)
    shutil.copytree("data/input", "done")
    arguments = ["--protocol", "rgb", "--data", "data", "--restored", "done"]
    assert evaluate(*arguments, "--save-images")[0] == 0
    save(Path("done/1.png"), degraded(1, 3))
    assert evaluate(*arguments)[0] == 0
    assert [path.name for path in Path("out/images").iterdir()] == ["0.png"]
    assert evaluate(*arguments, "--save-images")[0] == 0
    np.testing.assert_array_equal(read("out/images/1.png").pixels, degraded(1, 3))
    Path("out/images/1.png").unlink()
    Path("out/images/1.png").mkdir()
    Path("done/1.png").touch()
    status, _, warned = evaluate(*arguments)
    assert status == 2
    assert errors(warned)[0].startswith("error: out/images/1.png: cannot be removed: ")


@pytest.mark.parametrize("protocol", ["rgb", "dnd"])
def test_a_network_that_gives_no_numbers_is_told(tmp_path, protocol):
    image = to_float(degraded(0))
    image[2:4, 3, 0] = np.nan, np.inf
    sample = Sample("x", image.shape[:2], (tmp_path,), (), lambda: Degraded(image, clean(0)))

    class Source:
        def files(self, sample):
            return sample.files

        def turns(self, samples):
            return [samples]

        def each(self, samples, say):
            yield sample, Restored(sample, image, image, clean(0))

    judge = Submission(tmp_path) if protocol == "dnd" else Comparison(PROTOCOLS[protocol])
    done, failures, _ = scoring.score(judge, [sample], Source(), tmp_path, {}, save_images=False)
    assert done == []
    line = "the restored picture of x has 2 values that are not finite"
    assert failures == [f"{tmp_path}: {line}"]


def test_a_full_disk_ends_it_in_one_line(evaluate):
    pairs(Path("data"), 2)
    words = ["--protocol", "rgb", "--data", "data", "--restored", "data/input"]
    assert evaluate(*words, output="whole")[0] == 0
    header = Path("whole/scores.jsonl").read_bytes().splitlines()[0]
    with full_disk(len(header) + 9):
        status, _, warned = evaluate(*words)
    assert status == 2
    assert warned == "error: out/scores.jsonl: cannot be written: File too large\n"
    assert evaluate(*words)[0] == 0


def test_missing_opencv_is_told_once(evaluate, checkpoint, monkeypatch):
    pairs(Path("data"), 2)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "opencv" not in versions()
    for how in (["--restored", "data/input"], ["--checkpoint", checkpoint]):
        status, said, warned = evaluate("--dataset", "realblur_j", "--data", "data", *how)
        assert (status, said) == (2, "")
        assert warned == (
            "error: scores of RealBlur need OpenCV: pip install opencv-python-headless\n"
        )
    assert not Path("out").exists()


def test_opencv_is_known_by_its_own_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="9.8.7-any"))
    assert versions()["opencv"] == "9.8.7-any"


def test_devices_are_those_that_restore(evaluate, checkpoint):
    pairs(Path("data"), 1)
    words = ["--protocol", "rgb", "--data", "data"]
    assert evaluate(*words, "--checkpoint", checkpoint)[0] == 0
    assert results()["provenance"]["devices"] == [str(jax.devices()[0])]
    assert evaluate(*words, "--restored", "data/input", output="other")[0] == 0
    assert results("other")["provenance"]["devices"] == []


def test_what_a_protocol_says_of_padding_holds(checkpoint):
    other = dataclasses.replace(PROTOCOLS["rgb"], padding=16)
    with pytest.raises(UserError, match="pads pictures to multiples of 8; pairs of pictures, in "):
        Restoring(checkpoint).check(other)


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
    less = results("less")
    assert less["mean"] is None
    nothing = {"psnr": None, "ssim": None, "count": 0, "expected_count": 2800, "limit": None}
    assert less["members"]["Test2800"] == nothing
    assert less["members"]["Test100"].items() >= {"count": 2, "expected_count": 98}.items()
    assert re.search(r"\naverage .* 4 of 5 data sets, 4 of them incomplete\n", said)
    made = less["provenance"]
    assert made["restored"] == str(Path("done").resolve())
    assert made["versions"]["dgunet_jax"] == dgunet_jax.__version__


def test_a_suite_without_any_scores_is_written(evaluate):
    Path("data").mkdir()
    for name in ("one", "one"):  # again, over the first
        status, _, warned = evaluate(
            "--dataset", "derain", "--data", "data", "--restored", "done", output=name
        )
        assert status == 2
        assert len(errors(warned)) == 5
        assert results("one")["mean"] is None
        assert len(results("one")["failures"]) == 5


def test_a_suite_of_equal_pictures_is_valid_json(evaluate):
    for name, _ in SUITES["derain"].members:
        pairs(Path("data", name), 1)
        shutil.copytree(Path("data", name, "target"), Path("done", name))
    assert evaluate("--dataset", "derain", "--data", "data", "--restored", "done")[0] == 0
    assert results()["mean"] == {"psnr": "Infinity", "ssim": 1}


def test_a_suite_reads_its_checkpoint_once(evaluate, checkpoint, monkeypatch):
    for name, _ in SUITES["derain"].members:
        pairs(Path("data", name), 1)
    calls = []

    def counted(*words):
        calls.append(words)
        return read(*words)

    read = restoring.read_aloud
    monkeypatch.setattr(restoring, "read_aloud", counted)
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


def test_one_folder_is_for_one_evaluation(evaluate):
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


def test_names_that_are_formulas_are_text_in_a_sheet(evaluate):
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


def test_control_characters_in_names_are_shown_as_escapes(evaluate):
    for kind in ("input", "target"):
        save(Path("data", kind, "a\x1b[31m\nb.png"), clean(1))
    status, said, _ = evaluate("--protocol", "rgb", "--data", "data", "--restored", "data/input")
    assert status == 0
    for text in (said, Path("out/report.html").read_text(), Path("out/images.csv").read_text()):
        assert "\x1b" not in text
        assert r"a\x1b[31m\nb" in text


@pytest.mark.parametrize("how", [["--check"], ["--restored", "done"]])
def test_a_folder_that_may_not_be_read_is_one_line(evaluate, monkeypatch, how):
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


def test_the_output_is_not_in_the_data_under_any_name(evaluate):
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


def test_pairs_by_a_pattern(evaluate):
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
