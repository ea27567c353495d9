"""Programs compiled for devices that the process does not choose, or that are not here."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from benchmarks.topology import compile_apart, main
from dgunet_jax.system.errors import UserError
from dgunet_jax.training import cost
from tests.quick import devices
from tests.training.settings import settings

DRY_RUN = ["dgunet_jax.main", "--config=tests/training/toy.py", "--mode=dry_run"]
SMALL = {"num_stages": 2, "degradation": "identity", "memory": "none", "merge": "concat"}
TABLE = ["benchmarks.topology", "--variants=derain"]

# On four virtual devices of the CPU; the number is fixed when JAX starts.
SOME_DEVICES = """
import dataclasses, json, jax
from dgunet_jax.training.cost import trace_forward, trace_step
from tests.quick import compiler_options
from tests.quick import devices
from tests.training.settings import settings
from tests.training.test_topology import SMALL

config = settings(model=SMALL, data={"patch": 8})
devices = jax.devices()[2:]
_, step = trace_step(config, devices).compile(compiler_options())
_, forward = trace_forward(config.model, devices, 8).compile(compiler_options())
one = trace_forward(config.model, devices[:1], 8)
costs = [dataclasses.asdict(cost) for cost in (step, forward)]
print(json.dumps([*costs, one.gflop, jax.device_count()]))
"""


@dataclasses.dataclass(frozen=True)
class Device:
    """What a program asks of a device before it is compiled."""

    id: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    process_index: int = 0
    core_on_chip: int = 0


def command(*words: str, **environment: str):
    # Where libtpu is installed, JAX has imported it here, and this variable tells where it is.
    kept = {name: value for name, value in os.environ.items() if name != "TPU_LIBRARY_PATH"}
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def the_line(ended: subprocess.CompletedProcess) -> str:
    """The one line of a command that a mistake has ended."""
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize("words", [DRY_RUN, TABLE], ids=["dry_run", "benchmark"])
def test_without_libtpu_one_line_says_what_to_install(words: list[str], tmp_path: Path):
    (tmp_path / "libtpu.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = command(*words, "--topology=v5e:2x4", PYTHONPATH=path)
    assert the_line(ended) == (
        "error: --topology v5e:2x4: libtpu, which compiles for TPUs, is not installed; it comes"
        " with this package's extra tpu"
    )


@pytest.mark.parametrize("words", [DRY_RUN, TABLE], ids=["dry_run", "benchmark"])
def test_an_unknown_slice_is_one_line_with_or_without_libtpu(words: list[str]):
    assert the_line(command(*words, "--topology=v5e")).startswith("error: --topology v5e: ")


def test_a_topology_is_for_a_dry_run():
    ended = command("dgunet_jax.main", *DRY_RUN[1:2], "--workdir=gone", "--topology=v5e:2x4")
    assert the_line(ended) == "error: --topology is for --mode dry_run"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants", "derain,best"], "--variants: 'best' is not all, none or one of deblur, "),
        (["--steps", "quickstart"], "--steps: 'quickstart' is not all, none or one of rain13k, "),
        (["--minutes", "0"], "--minutes is 0; it must be more than 0"),
    ],
)
def test_a_wrong_word_of_the_benchmark_is_named(words: list[str], message: str, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["topology", "--topology=v5e:2x4", *words])
    with pytest.raises(UserError, match=f"^{message}"):
        main()


def test_what_libtpu_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def refuse(name, platform):
        raise jax.errors.JaxRuntimeError(f"INVALID_ARGUMENT: {name}\nmatches nothing")

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(UserError) as caught:
        cost.tpu_devices("cube")
    assert str(caught.value) == "--topology cube: INVALID_ARGUMENT: cube matches nothing"


def test_a_chip_must_be_one_device(monkeypatch: pytest.MonkeyPatch):
    found = [Device(0), Device(1, core_on_chip=1)]
    monkeypatch.setattr(
        topologies, "get_topology_desc", lambda *_: topologies.TopologyDescription(found)
    )
    with pytest.raises(UserError, match="v4:2x2x1: has several devices on a chip"):
        cost.tpu_devices("v4:2x2x1")


def test_the_kernels_are_those_of_the_devices_that_are_compiled_for(monkeypatch):
    """Though the process has a CPU, for which channels are filled up: the work tells them apart."""
    here, plain = (
        settings(
            model=SMALL | {"width": 40, "growth": 20, "kernels": kernels},
            data={"patch": 8, "batch": 1},
        )
        for kernels in ("auto", "plain")
    )
    step = cost.trace_step(plain).gflop
    forward = cost.trace_forward(plain.model, None, 8).gflop
    assert cost.trace_forward(here.model, None, 8).gflop > forward
    mesh = Mesh(np.array([Device()]), ("data",), axis_types=(AxisType.Auto,))
    monkeypatch.setattr(cost, "make_mesh", lambda devices: mesh)
    assert cost.trace_step(here, [Device()]).gflop == step
    assert cost.trace_forward(here.model, [Device()], 8).gflop == forward


def test_programs_are_compiled_for_the_given_devices_alone():
    words = [sys.executable, "-c", SOME_DEVICES]
    environment = os.environ | {"XLA_FLAGS": devices(4)}
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    step, forward, one, count = json.loads(done.stdout)
    assert count == 4
    assert (step["devices"], step["kind"]) == (forward["devices"], forward["kind"]) == (2, "cpu")
    (reduced,) = step["collectives"]
    assert reduced["kind"] == "all-reduce"
    assert not reduced["in_loop"]
    assert 0.99 < reduced["bytes"] / (4 * step["parameters"]) < 1.01
    assert forward["collectives"] == []  # a picture on each
    assert forward["gflop"] == pytest.approx(2 * one)
    assert step["parameters"] == forward["parameters"]


def test_the_lines_tell_kind_and_memory_of_a_chip():
    among = [cost.Collective("all-reduce", 14_500_000, False)]
    told = cost.Cost(8, "TPU v5 lite", 3_633_112, 26_266.2, 2_134_400_000, among, 61.2)
    assert told.lines() == [
        "devices: 8 (TPU v5 lite)",
        "parameters: 3,633,112",
        "work of a step: 26,266 GFLOP",
        "memory on each device: 2,134 MB of 16 GB",
        "among devices: all-reduce of 14.5 MB",
        "compiled in 61 s",
    ]
    unknown = dataclasses.replace(told, kind="cpu", collectives=[])
    assert unknown.lines()[3:5] == ["memory on each device: 2,134 MB", "among devices: nothing"]


def test_collectives_are_read_off_a_program_for_tpus():
    text = """
%add.1 (a.1: f32[], b.1: f32[]) -> f32[] {
  ROOT %c.1 = f32[]{:T(128)} add(%a.1, %b.1)
}

ENTRY %main.1_spmd (p.1: f32[3,3,8,4]) -> f32[3,3,8,4] {
  %all-reduce.7 = (f32[]{:T(128)}, f32[3,3,8,4]{2,3,1,0:T(4,128)}, /*index=2*/bf16[64]{0:T(256)\
(128)(2,1)S(1)}) all-reduce(%x.1, %y.1, %z.1), replica_groups=mesh['axis_0'=8], to_apply=%add.1
  ROOT %y.2 = f32[3,3,8,4]{2,3,1,0:T(4,128)} get-tuple-element(%all-reduce.7), index=1
}
"""
    size = 4 * (1 + 3 * 3 * 8 * 4) + 2 * 64
    assert cost.collectives(text) == [cost.Collective("all-reduce", size, False)]


def test_a_program_that_needs_too_much_memory_is_one_line():
    class Program:
        def lower(self):
            return self

        def compile(self, compiler_options):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 24.02G of\n15.75G")

    traced = cost.Traced(Program(), 8, "TPU v5 lite", 1, 1.0)
    with pytest.raises(UserError) as caught:
        traced.compile()
    assert str(caught.value) == (
        "does not fit into a TPU v5 lite: RESOURCE_EXHAUSTED: 24.02G of 15.75G"
    )


def test_a_compilation_that_takes_too_long_is_given_up():
    row = compile_apart("v5e:2x4", "forward", "derain", 0.06)
    assert str(row) == "| forward | derain | not compiled in 0.001 minutes |  |  |  |  |  |  |"


def test_a_program_that_cannot_be_compiled_has_a_row_with_the_reason():
    row = compile_apart("v5e", "forward", "derain", 60)  # no libtpu, or no such slice
    assert row.problem is not None
    assert row.problem.startswith("not compiled: --topology v5e: ")
