"""Commands in processes of their own, whose streams are as odd as streams get."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError

def command():
    {body}
    return 0

status = terminal.run(command)
Path("done").write_text("done")
sys.exit(status)
"""


def start(body: str, folder: Path, redirection: str = "", **environment: str):
    """A command with a body, run by a shell that redirects its streams."""
    (folder / "program.py").write_text(PROGRAM.format(body=body))
    return subprocess.run(
        f"{sys.executable} program.py {redirection}",
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        executable="/bin/bash",
    )


def test_run_prints_what_is_said_and_shown(tmp_path: Path):
    ended = start("terminal.say('working'); terminal.show('a\\nb')", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a\nb\n", "working\n")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise UserError('cat.png: is damaged')", "error: cat.png: is damaged\n"),
        ("raise UserError('a\\x1b[31m\\nb')", "error: a\\x1b[31m\\nb\n"),
        (
            "sys.modules['h5py'] = None; import h5py",
            "error: h5py is not installed; pip install 'dgunet_jax[evaluate]' has it\n",
        ),
        ("open('missing.png')", "error: missing.png: No such file or directory\n"),
        ("open('x' * 300)", f"error: {'x' * 300}: File name too long\n"),
        ("Path('f').touch(); Path('f/g').mkdir()", "error: f/g: Not a directory\n"),
        (
            f"raise OSError({errno.ENOSPC}, 'No space left on device', 'out')",
            "error: out: No space left on device\n",
        ),
    ],
)
def test_run_tells_a_mistake_in_one_line(tmp_path: Path, body: str, line: str):
    ended = start(body, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", line)


def test_run_raises_what_is_a_fault_of_the_program(tmp_path: Path):
    ended = start("raise OSError('of a library, without a number')", tmp_path)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


MANY = "[terminal.show(f'line {i}') for i in range(20000)]; Path('end').touch()"


@pytest.mark.parametrize(
    ("redirection", "status", "stderr"),
    [
        ("| head -1; exit ${PIPESTATUS[0]}", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("2> /dev/full", 0, ""),
        ("> /dev/full", 2, "error: standard output: cannot be written: No space left on device\n"),
    ],
)
def test_run_goes_on_without_its_streams(
    tmp_path: Path, redirection: str, status: int, stderr: str
):
    ended = start(f"terminal.say('working'); {MANY}", tmp_path, redirection)
    assert ended.stderr.replace("working\n", "") == stderr
    assert ended.returncode == status
    assert (tmp_path / "end").exists()
    assert (tmp_path / "done").exists()


def test_run_ends_quietly_when_nothing_reads_what_a_library_prints(tmp_path: Path):
    body = "[print('x' * 1000, flush=True) for _ in range(1000)]"
    ended = start(body, tmp_path, "| head -c 1 >&2; exit ${PIPESTATUS[0]}")
    assert (ended.returncode, ended.stderr) == (141, "x")


def test_run_keeps_files_off_the_numbers_of_closed_streams(tmp_path: Path):
    body = "file = open('out', 'w'); __import__('os').write(2, b'of a library'); file.close()"
    ended = start(body, tmp_path, ">&- 2>&- <&-")
    assert ended.returncode == 0
    assert (tmp_path / "out").read_text() == ""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_run_prints_in_every_encoding(tmp_path: Path, encoding: str):
    body = "terminal.say('σ ρ'); terminal.show('雨 \\udcfc'); print('σ')"
    ended = start(body, tmp_path, PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    assert "\\xfc" in ended.stdout


def test_run_draws_without_the_backend_of_a_notebook(tmp_path: Path):
    body = "import matplotlib.figure; matplotlib.figure.Figure().savefig('a.png')"
    ended = start(body, tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "a.png").stat().st_size


def test_run_ends_at_an_interrupt(tmp_path: Path):
    body = f"__import__('os').kill(__import__('os').getpid(), {signal.SIGINT.value})"
    ended = start(f"{body}; __import__('time').sleep(9)", tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_run_removes_what_is_half_written_when_it_is_asked_to_end(tmp_path: Path, number: int):
    body = f"""import os
    from dgunet_jax.system.files import replacing
    with replacing("result") as file:
        file.write(b"half")
        os.kill(os.getpid(), {int(number)})"""
    ended = start(body, tmp_path)
    assert (ended.returncode, ended.stderr) == (128 + number, "")
    assert os.listdir(tmp_path) == ["program.py"]


def test_run_leaves_a_hangup_ignored(tmp_path: Path):
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"
    (tmp_path / "program.py").write_text(PROGRAM.format(body=body))
    command = f"trap '' HUP; {sys.executable} program.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, shell=True, cwd=tmp_path, env=environment).returncode == 0
