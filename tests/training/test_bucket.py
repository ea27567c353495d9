"""A run whose data, checkpoints and records are in a bucket of a server that is killed too."""

import json
import threading

import pytest
from skimage import data

import dgunet_jax
from dgunet_jax.cli import main
from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.pipeline import training_batches
from dgunet_jax.data.sources import open_source
from dgunet_jax.images import Picture, write
from dgunet_jax.system.storage import as_path
from tests.bucket import served
from tests.small import equal, network
from tests.training.chaos import Chaos, complete, same, saving

TOY = "tests/training/toy.py"
SHORT = ("--config.optimizer.steps=80", "--config.report.throughput=False")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def bucket(server):
    return as_path("gs://bucket")


def test_a_run_in_a_bucket_ends_as_one_on_the_disk(server, bucket, tmp_path):
    log: list[str] = []
    chaos = Chaos(TOY, tmp_path, log.append)
    chaos.finish(tmp_path / "quiet", *SHORT)
    workdir = bucket / "run"
    assert chaos.kill(workdir, saving, *SHORT), log
    thread = threading.Thread(target=server.interrupt, args=(3, 2))
    thread.start()
    chaos.finish(workdir, *SHORT)
    thread.join()
    assert same(tmp_path / "quiet", workdir), log
    assert len(complete(workdir)) in (2, 3)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_bytes().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == [*range(10, 81, 10)]
    assert len([*(workdir / "tensorboard").iterdir()]) >= 2
    model, variables = dgunet_jax.load(str(workdir))  # the best checkpoint
    assert model.config.width == 4 and variables["params"]


def pictures(folder) -> None:
    for name, pixels in (("a", data.astronaut()), ("b", data.coffee())):
        write(folder / f"{name}.png", Picture(pixels[:120, :140]))


def test_batches_of_a_bucket_are_those_of_a_folder(bucket, tmp_path):
    batches = []
    for folder in (tmp_path / "set", bucket / "set"):
        pictures(folder)
        source = open_source(str(folder), pairs=False)
        config = DataConfig(
            train=str(folder),
            validation=str(folder),
            degradation="gaussian(25)",
            patch=32,
            batch=4,
        )
        stream = training_batches([source], config, start_step=0)
        batches.append([next(stream) for _ in range(3)])
        stream.close()
    assert equal(*batches)


def test_pictures_are_restored_and_scored_from_bucket_to_bucket(bucket, tmp_path, capsys):
    dgunet_jax.save(bucket / "net.safetensors", *network())
    for kind in ("input", "target"):
        pictures(bucket / "pairs" / kind)
    words = ["--checkpoint", "gs://bucket/net.safetensors", "--output", "gs://bucket/out"]
    assert main(["restore", *words, "gs://bucket/pairs/input"]) == 0
    assert sorted(path.name for path in (bucket / "out").iterdir()) == ["a.png", "b.png"]
    words = ["--protocol", "rgb", "--data", "gs://bucket/pairs", "--output", "gs://bucket/scores"]
    assert main(["evaluate", *words, "--restored", "gs://bucket/out"]) == 0
    names = {path.name for path in (bucket / "scores").iterdir()}
    assert {"results.json", "images.csv", "report.html", "scores.jsonl"} <= names
    capsys.readouterr()
    assert main(["restore", "--checkpoint", "gs://bucket/none", "gs://bucket/nowhere"]) == 2
    assert "gs://bucket/nowhere: no such file" in capsys.readouterr().err
