import subprocess
import sys

import jax
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax.cli import main, parser
from dgunet_jax.convert.pytorch import to_pytorch
from dgunet_jax.convert.safetensors_file import write_safetensors
from dgunet_jax.convert.torch_file import write_torch
from dgunet_jax.main import parse
from tests.small import equal, network


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "net.pth"
    dgunet_jax.save(path, *network())
    return path


def one_error_line(capsys) -> str:
    err = capsys.readouterr().err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert "Traceback" not in err
    return errors[0]


def test_convert_says_what_it_recognised_and_loses_nothing(checkpoint, tmp_path, capsys):
    target = tmp_path / "net.safetensors"
    assert main(["convert", str(checkpoint), str(target), "--num-stages", "3"]) == 0
    said = capsys.readouterr().out
    for part in ("DGUNet", "width 8, growth 4", "stages: 3", "basic.concat12.weight", str(target)):
        assert part in said
    used, unused, total = (
        int(word.replace(",", ""))
        for word in said.split("parameters: ")[1].split()
        if word[0].isdigit()
    )
    assert used + unused == total
    # Six uses of one operator slope and two of one attention slope count once each.
    assert total == sum(value.size for value in to_pytorch(*network()).values()) - 6
    assert equal(dgunet_jax.load(target)[1], network()[1])


def test_stages_travel_with_what_is_written(tmp_path, capsys):
    own, official = tmp_path / "net.safetensors", tmp_path / "net.pth"
    dgunet_jax.save(own, *network(num_stages=4))
    assert main(["convert", str(own), str(official)]) == 0
    assert "stages: 4; the 2 middle ones" in capsys.readouterr().out
    assert main(["info", str(official)]) == 0
    said = capsys.readouterr()
    assert "stages: 4; the 2 middle ones" in said.out
    assert said.err == ""
    assert main(["info", str(official), "--num-stages", "9"]) == 0
    note = f"note: {official}: was saved with 4 stages; it is read with 9\n"
    assert capsys.readouterr().err == note


def test_stages_that_a_file_does_not_tell_are_assumed_and_that_is_said(tmp_path, capsys):
    official = tmp_path / "net.pth"
    write_torch(official, to_pytorch(*network()))
    for command in (["info", str(official)], ["convert", str(official), str(tmp_path / "k")]):
        assert main(command) == 0
        said = capsys.readouterr()
        assert "stages: 7 (assumed; see --num-stages); the 5 middle" in said.out
        (note,) = said.err.splitlines()
        assert note.startswith(f"note: {official}: does not tell its number of stages; 7 are")
    assert main(["info", str(official), "--num-stages", "4"]) == 0
    said = capsys.readouterr()
    assert "stages: 4; the" in said.out
    assert said.err == ""


def test_one_of_several_sets_of_weights_is_named(tmp_path, capsys):
    arrays = {
        f"{prefix}.{key}": value
        for seed, prefix in enumerate(("model", "model_ema"))
        for key, value in to_pytorch(*network(seed)).items()
    }
    both = tmp_path / "both.safetensors"
    write_safetensors(both, arrays, {})
    out = tmp_path / "net.safetensors"
    for given, seed in (([], 1), (["--weights", "model"], 0)):
        assert main(["convert", str(both), str(out), "--num-stages", "3", *given]) == 0
        assert ("model_ema is read" in capsys.readouterr().err) == (not given)
        assert equal(dgunet_jax.load(out)[1], network(seed)[1])
    assert main(["info", str(both), "--weights", "other"]) == 2
    assert "no weights under other; it has model, model_ema" in one_error_line(capsys)


def test_a_damaged_directory_is_one_line_on_the_terminal(tmp_path):
    dgunet_jax.save(tmp_path / "net", *network())
    files = [file for file in (tmp_path / "net" / "params" / "d").iterdir()]
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    command = [sys.executable, "-m", "dgunet_jax.cli", "info", str(tmp_path / "net")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/net: is damaged")


def test_info_lists_every_array(tmp_path, capsys):
    model, variables = network()
    dgunet_jax.save(tmp_path / "net.safetensors", model, variables)
    assert main(["info", str(tmp_path / "net.safetensors"), "--parameters"]) == 0
    said = capsys.readouterr().out
    size = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert f"Total: {size:,}" in said
    assert "| middle/step_size " in said


def test_convert_reports_everything_that_is_wrong_in_one_line(tmp_path, capsys):
    state = to_pytorch(*network())
    del state["tail.weight"]
    state["surplus"] = np.zeros(3, np.float32)
    state["phi_0.body.0.bias"] = np.zeros(5, np.float32)
    write_torch(tmp_path / "bad.pth", state)
    assert main(["convert", str(tmp_path / "bad.pth"), str(tmp_path / "out.safetensors")]) == 2
    error = one_error_line(capsys)
    for part in ("bad.pth", "missing tail.weight", "unexpected surplus", "phi_0.body.0.bias has"):
        assert part in error
    assert not (tmp_path / "out.safetensors").exists()


def test_info_names_the_tasks_a_checkpoint_may_be_for(tmp_path, capsys):
    model, variables = network(width=40, growth=20, last_growth=16)
    dgunet_jax.save(tmp_path / "net.safetensors", model, variables)
    assert main(["info", str(tmp_path / "net.safetensors")]) == 0
    assert "possible tasks: derain\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["convert", "gone.pth", "out.pth"], "gone.pth: there is no such file"),
        (["info"], "CHECKPOINT"),
        (["paint"], "'paint'"),
        (["info", "NET", "--num-stages", "1"], "num_stages is 1; it must be at least 2"),
        (["info", "NET", "--num-stages", "0"], "num_stages is 0; it must be at least 2"),
        (["info", "NET", "--num-stages", "x"], "invalid int value: 'x'"),
        (["convert", "NET", "NET"], "is the input"),
        (["info", "NET", "--num-stage=3", "--wieghts=x"], "--wieghts=x; did you mean --weights?"),
        (["info", "NET", "more"], "more (see dgunet info --help)"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(checkpoint, capsys, arguments, part):
    arguments = [str(checkpoint) if a == "NET" else a for a in arguments]
    assert main(arguments) == 2
    assert part in one_error_line(capsys)


def test_common_spellings_are_understood():
    options = parser().parse_args(["restore", "a.png", "-o", "out", "--format", "JPG"])
    assert (str(options.output), options.format) == ("out", "jpeg")
    options, _ = parse(["--config=configs/quickstart.py", "--mode=dry-run"])
    assert options.mode == "dry_run"
    words = [sys.executable, "-m", "dgunet_jax", "--version"]
    assert subprocess.check_output(words, text=True).strip() == dgunet_jax.__version__


def test_importing_the_package_is_light():
    code = "import sys, dgunet_jax; print(sorted({m.split('.')[0] for m in sys.modules}))"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    for heavy in ("torch", "tensorflow", "orbax", "grain", "matplotlib"):
        assert f"'{heavy}'" not in modules


def test_every_public_name_exists_and_is_documented():
    for name in dgunet_jax.__all__:
        value = getattr(dgunet_jax, name)
        assert name in ("VARIANTS", "__version__") or value.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = dgunet_jax.nothing
