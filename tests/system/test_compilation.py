"""Environments in which JAX starts, or does not, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CACHED = """
import sys, time
from dgunet_jax.system import terminal
from dgunet_jax.system.compilation import check_platform, use_cache

def command():
    check_platform()
    use_cache()
    import jax
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    print(jax.jit(lambda x: x + 1)(1.0))
    return 0

sys.exit(terminal.run(command))
"""


def start(folder: Path, **environment: str):
    """A command that compiles, with nothing in its environment but what is given and its path."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    path = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", CACHED],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("platform", ["cuda", "gpu", "tpu", "nonsense"])
def test_check_platform_names_what_is_not_there(tmp_path: Path, platform: str):
    ended = start(tmp_path, JAX_PLATFORMS=platform, HOME=str(tmp_path))
    *_, line = ended.stderr.splitlines()
    assert line.startswith(f"error: JAX_PLATFORMS={platform}: JAX cannot use this platform here (")
    assert line.endswith("; unset it, or set it to cpu")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_use_cache_replaces_damaged_programs(tmp_path: Path):
    assert start(tmp_path, HOME=str(tmp_path)).stderr == ""
    folder = tmp_path / ".cache/dgunet_jax"
    entries = {path: path.read_bytes() for path in folder.glob("*-cache")}
    assert entries
    for path, content in entries.items():
        path.write_bytes(content[: len(content) // 2])
    ended = start(tmp_path, HOME=str(tmp_path))
    said = f"a compiled program of an earlier start is damaged; {len(entries)} are removed"
    assert ended.stderr == f"{said} and compiled anew\n"
    assert ended.stdout == "2.0\n"
    assert start(tmp_path, HOME=str(tmp_path)).stderr == ""


def test_use_cache_leaves_programs_in_a_folder_of_the_user_s(tmp_path: Path):
    environment = {"HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    start(tmp_path, **environment)
    entries = sorted((tmp_path / "own").glob("*-cache"))
    assert entries
    for path in entries:
        path.write_bytes(b"damaged")
    ended = start(tmp_path, **environment)
    assert ended.stderr == "a compiled program of an earlier start is damaged\n"
    assert sorted((tmp_path / "own").glob("*-cache")) == entries


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"HOME": "{file}/home"}, "Not a directory"),
        ({"XDG_CACHE_HOME": "{file}"}, "Not a directory"),
        ({"JAX_COMPILATION_CACHE_DIR": "{file}"}, "File exists"),
        ({"XDG_CACHE_HOME": "/proc/self"}, "No such file or directory"),
    ],
)
def test_use_cache_does_without_a_place(tmp_path: Path, environment: dict[str, str], why: str):
    (tmp_path / "file").touch()
    places = {name: value.format(file=tmp_path / "file") for name, value in environment.items()}
    ended = start(tmp_path, **places)
    assert ended.stderr == f"compiled programs are not kept for the next start: {why}\n"
    assert (ended.returncode, ended.stdout) == (0, "2.0\n")


def test_use_cache_does_without_a_home(monkeypatch: pytest.MonkeyPatch, capsys):
    import jax

    from dgunet_jax.system import compilation

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    updates = {}
    monkeypatch.setattr(compilation.Path, "home", homeless)
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation.use_cache()
    assert updates == {"jax_enable_compilation_cache": False}
    assert capsys.readouterr().err == (
        "compiled programs are not kept for the next start: Could not determine home directory.\n"
    )


def test_training_names_a_platform_that_is_not_there(tmp_path: Path):
    config = Path(__file__).parents[2] / "configs/quickstart.py"
    words = [sys.executable, "-m", "dgunet_jax.main", f"--config={config}", "--mode=dry_run"]
    environment = {**os.environ, "JAX_PLATFORMS": "cuda", "HOME": str(tmp_path)}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: JAX_PLATFORMS=cuda: JAX cannot use this platform here (")
    assert ended.returncode == 2
