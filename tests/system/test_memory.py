"""What the machine and the container say of their memory, and what is made of silence."""

from pathlib import Path

import pytest

from dgunet_jax.system import memory
from dgunet_jax.system.memory import available_memory, total_memory

PAGES, PAGE = 1 << 20, 4096  # 4 GiB
MEMINFO = "MemTotal:  4194304 kB\nMemFree:  1024 kB\nMemAvailable:  2097152 kB\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 4 GiB, of which 2 are left, without a container."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "cgroup")
    sizes = {"SC_PHYS_PAGES": PAGES, "SC_PAGE_SIZE": PAGE}
    monkeypatch.setattr(memory.os, "sysconf", sizes.__getitem__, raising=False)
    return tmp_path


def test_the_machine_alone():
    assert total_memory() == 1 << 32
    assert available_memory() == 1 << 31


@pytest.mark.parametrize(
    ("limit", "used", "total", "available"),
    [
        ("max", "1000", 1 << 32, 1 << 31),
        (f"{1 << 30}", "1000", 1 << 30, (1 << 30) - 1000),
        (f"{1 << 30}", f"{1 << 31}", 1 << 30, 0),
        (f"{1 << 62}", "1000", 1 << 32, 1 << 31),
    ],
)
def test_the_least_of_machine_and_container(
    machine: Path, limit: str, used: str, total: int, available: int
):
    (machine / "memory.max").write_text(f"{limit}\n")
    (machine / "memory.current").write_text(f"{used}\n")
    assert total_memory() == total
    assert available_memory() == available


def test_files_that_were_read_are_given_up_first(machine: Path):
    (machine / "memory.max").write_text(f"{1 << 30}\n")
    (machine / "memory.current").write_text(f"{(1 << 30) - 4096}\n")
    assert available_memory() == 4096
    (machine / "memory.stat").write_text(f"anon 1000\ninactive_file {1 << 29}\nactive_file 7\n")
    assert available_memory() == 4096 + (1 << 29)
    (machine / "memory.stat").write_text("damaged\ninactive_file many\n")
    assert available_memory() == 4096


@pytest.mark.parametrize("content", ["", "MemTotal: 4194304 kB\n", "MemAvailable: many kB\n"])
def test_a_machine_that_does_not_tell_what_is_left(machine: Path, content: str):
    (machine / "meminfo").write_text(content)
    assert available_memory() == 1 << 32
    (machine / "meminfo").unlink()
    assert available_memory() == 1 << 32


def test_nobody_tells(machine: Path, monkeypatch: pytest.MonkeyPatch):
    (machine / "meminfo").unlink()
    monkeypatch.delattr(memory.os, "sysconf")
    assert total_memory() is None
    assert available_memory() is None
    (machine / "memory.max").write_text("5000")
    (machine / "memory.current").write_text("2000")
    assert total_memory() is None
    assert available_memory() == 3000


def limited(group: Path, limit: int, used: int, version: int = 2) -> None:
    """Make a control group with a limit."""
    group.mkdir(parents=True, exist_ok=True)
    limit_file, used_file = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }[version]
    (group / limit_file).write_text(f"{limit}\n")
    (group / used_file).write_text(f"{used}\n")


def test_version_1_groups(machine: Path):
    limited(machine / "memory", 2_000_000_000, 300_000_000, version=1)
    (machine / "memory/memory.stat").write_text("inactive_file 1\ntotal_inactive_file 100000000\n")
    assert total_memory() == 2_000_000_000
    assert available_memory() == 1_800_000_000


def test_version_1_without_a_limit(machine: Path):
    limited(machine / "memory", 9223372036854771712, 300_000_000, version=1)
    assert total_memory() == 1 << 32
    assert available_memory() == 1 << 31


@pytest.mark.parametrize(
    ("version", "mount", "line"),
    [
        (1, "memory", "4:memory:/slurm/job_1/step_0"),
        (1, "memory", "9:cpu,memory:/slurm/job_1/step_0"),
        (2, ".", "0::/slurm/job_1/step_0"),
        (2, "unified", "0::/slurm/job_1/step_0"),
    ],
)
@pytest.mark.parametrize("group", ["slurm/job_1/step_0", "slurm/job_1", "slurm", "."])
def test_a_limit_of_any_group_around_the_process(
    machine: Path, version: int, mount: str, line: str, group: str
):
    (machine / "cgroup").write_text(f"12:pids:/elsewhere\n{line}\n")
    limited(machine / mount / "slurm/job_1/step_0", 1 << 62, 0, version)
    limited(machine / mount / group, 1 << 30, 1 << 20, version)
    assert total_memory() == 1 << 30
    assert available_memory() == (1 << 30) - (1 << 20)


def test_another_process_s_group_does_not_bind(machine: Path):
    (machine / "cgroup").write_text("0::/slurm/job_1\n")
    limited(machine / "slurm/job_2", 1000, 0)
    assert total_memory() == 1 << 32


def test_a_group_told_as_seen_from_the_host(machine: Path):
    (machine / "cgroup").write_text("0::/docker/0123/init\n")
    limited(machine, 1 << 30, 0)
    assert total_memory() == 1 << 30
