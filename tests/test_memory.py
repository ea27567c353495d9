"""What the machine and the container say of their memory, and what is made of silence."""

from pathlib import Path

import pytest

from dgunet_jax import memory
from dgunet_jax.memory import available_memory, total_memory

PAGES, PAGE = 1 << 20, 4096  # 4 GiB
MEMINFO = "MemTotal:  4194304 kB\nMemFree:  1024 kB\nMemAvailable:  2097152 kB\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 4 GiB, of which 2 are left, without a container."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
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
