"""Two processes that train together over the loopback interface."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.system import hosts
from tests.quick import devices as devices_flag
from tests.small import network

_STEPS = 24
_SETTINGS = (
    "--config.data.batch=8",
    f"--config.optimizer.steps={_STEPS}",
    "--config.report.progress_every=1",
    "--config.report.evaluate_every=8",
    "--config.report.save_every=4",
)


class Runs:
    """Starts the toy run in one process or two."""

    def __init__(self, folder):
        self.folder = folder
        self._start = folder / "start.safetensors"
        dgunet_jax.save(self._start, *network(width=4, growth=2, last_growth=2, num_stages=2))

    def start(self, workdir, *, processes=1, devices=1, more=()):
        environment = os.environ | {
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / f"cache{processes}_{devices}"),
            "XLA_FLAGS": devices_flag(devices),
        }
        if processes > 1:
            with socket.create_server(("127.0.0.1", 0)) as free:
                address = f"127.0.0.1:{free.getsockname()[1]}"
            environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
        words = [sys.executable, "-m", "dgunet_jax.main", "--config", "tests/training/toy.py"]
        words += ["--workdir", str(self.folder / workdir), f"--config.init_from={self._start}"]
        return [
            subprocess.Popen(
                [*words, *_SETTINGS, *more, *([f"--process={i}"] if processes > 1 else [])],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for i in range(processes)
        ]

    def finish(self, workdir, **how):
        started = self.start(workdir, **how)
        said = [process.communicate()[0] for process in started]
        assert [process.returncode for process in started] == [0] * len(started), said
        return said

    def scalars(self, workdir, name):
        lines = (self.folder / workdir / "metrics.jsonl").read_text().splitlines()
        found = {line["step"]: line[name] for line in map(json.loads, lines) if name in line}
        return np.array([found[step] for step in sorted(found)])

    def assert_same_course(self, run, expected):
        """Every step's loss, and PSNR with the averaged weights, are those of another run.

        Weights are not compared: where a gradient is nothing but rounding, as that of a bias before
        an instance norm, Adam makes whole steps of it, to either side.
        """
        for name, tolerances in {
            "loss": {"rtol": 1e-4, "atol": 0},
            "held_out/stage_2": {"rtol": 0, "atol": 1e-4},
        }.items():
            np.testing.assert_allclose(
                self.scalars(run, name), self.scalars(expected, name), **tolerances
            )

    def wait_for(self, path, processes):
        while not (self.folder / path).exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def alone(runs):
    """The run of one process with one device."""
    runs.finish("alone")
    return "alone"


@pytest.fixture(scope="module")
def killed(runs):
    """A run of two processes whose second was killed, and what the first said then."""
    first, second = runs.start("killed", processes=2)
    runs.wait_for("killed/checkpoints/4", [first, second])
    second.send_signal(signal.SIGKILL)
    said, _ = first.communicate()
    second.communicate()
    return first.returncode, said


def test_two_processes_compute_what_one_does(runs, alone):
    first, second = runs.finish("two", processes=2)
    runs.assert_same_course("two", alone)
    assert len(runs.scalars("two", "loss")) == _STEPS
    assert len(runs.scalars("two", "held_out/stage_2")) == 1 + _STEPS // 8
    ours, expected = (runs.scalars(run, "gradient_norm") for run in ("two", alone))
    np.testing.assert_allclose(ours[:4], expected[:4], rtol=1e-4)
    assert "step 24/24" in first
    assert "step" not in second  # one speaks for both


def test_a_process_whose_peer_dies_says_so(killed):
    status, said = killed
    assert status == 1
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert "another process of this run is gone" in line
    assert "the same command, which goes on from the newest checkpoint" in line
    assert "Traceback" not in said


def test_a_checkpoint_that_needs_a_lost_process_is_not_called_unwritable(monkeypatch):
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    with pytest.raises(hosts.PeerLost, match="UNAVAILABLE"), hosts.lost_peers():
        try:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: task 1")
        except jax.errors.JaxRuntimeError as error:
            raise UserError("checkpoints: cannot be written") from error
    with pytest.raises(UserError, match="denied"), hosts.lost_peers():
        raise UserError("checkpoints: cannot be written: permission denied")


@pytest.mark.parametrize("how", [{"processes": 2}, {"devices": 8}])
def test_what_was_left_goes_on_on_other_devices(runs, killed, alone, how):
    name = f"resumed{how}"
    shutil.copytree(runs.folder / "killed", runs.folder / name)
    said = runs.finish(name, **how)[0]
    assert "going on from step" in said
    runs.assert_same_course(name, alone)


def test_all_stop_after_the_same_step_when_one_is_asked(runs):
    processes = runs.start("stopped", processes=2, more=["--config.optimizer.steps=2000"])
    runs.wait_for("stopped/checkpoints/4", processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    line = next(line for line in said[0].splitlines() if line.startswith("stopped at step"))
    saved = max(int(p.name) for p in (runs.folder / "stopped/checkpoints").glob("[0-9]*"))
    assert line == f"stopped at step {saved}; the same command goes on from there"


def test_what_one_process_cannot_begin_with_ends_the_other_too(runs):
    lock = runs.start("locked")
    runs.wait_for("locked/checkpoints", lock)
    first, second = (p.communicate()[0] for p in runs.start("locked", processes=2))
    lock[0].kill()
    lock[0].communicate()
    assert "error: " in first
    assert "another run is using it" in first
    assert "error: process 0 has failed and says why" in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", None, 0), r"need --processes \(JAX_NUM_PROCESSES\) too"),
        ((None, 2, 0), r"need --coordinator \(JAX_COORDINATOR_ADDRESS\) too"),
        (("host", 2, 0), "the coordinator is 'host'; it must be host:port, or auto"),
        (("host:1", 2, 2), "the process is 2 of 2; it must be at least 0 and below their number"),
    ],
)
def test_incomplete_or_wrong_addresses(arguments, message):
    with pytest.raises(UserError, match=message):
        hosts.join(*arguments)


@pytest.mark.parametrize(
    ("address", "found", "listening"),
    [
        ("127.0.0.1:7", "127.0.0.1", "127.0.0.1:7"),
        ("localhost:7", "127.0.0.1", "localhost:7"),
        ("192.0.2.1:7", "192.0.2.1", "[::]:7"),  # of another machine, such as a router
        ("this-host:7", "127.0.1.1", "[::]:7"),  # as Debian's /etc/hosts has it
        ("unknown-host:7", None, "[::]:7"),
    ],
)
def test_join_listens_at_the_address_that_is_given(monkeypatch, address, found, listening):
    def look_up(*_, **__):
        if found is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 0))]

    given = {}
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("jax.distributed.initialize", lambda **arguments: given.update(arguments))
    assert hosts.join(address, 2, 0)
    assert given["coordinator_address"] == address
    assert given["coordinator_bind_address"] == listening


def test_nobody_to_join():
    assert not hosts.join()


def test_numbers_in_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match=r"--processes \(JAX_NUM_PROCESSES\) .* 'two'"):
        hosts.join("host:1", None, 0)
