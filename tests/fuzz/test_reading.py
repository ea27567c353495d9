"""Reading folders full of exotic files: a picture, or one line that names the file."""

from pathlib import Path

import pytest

from dgunet_jax.images import Header, Picture, read, read_header
from dgunet_jax.system.errors import UserError
from tests.fuzz.kinds import READABLE, REFUSED
from tests.fuzz.pictures import Case, make

COUNT = 400


def outcome(reader, path: Path):
    """What a function returns, or the line with which it refuses."""
    try:
        return reader(path)
    except UserError as error:
        line = str(error)
        assert line.startswith(f"{path}: ")
        assert len(line.splitlines()) == 1
        assert len(line) > len(f"{path}: ") + 10
        return line


def check(case: Case) -> None:
    header, picture = outcome(read_header, case.path), outcome(read, case.path)
    if case.readable is not None:
        assert isinstance(picture, Picture) == case.readable, picture
    if isinstance(picture, Picture):
        assert isinstance(header, Header)
        found = (
            picture.file_format,
            *picture.pixels.shape,
            picture.bits,
            picture.alpha is not None,
        )
        announced = (header.format, header.height, header.width, header.channels, header.bits)
        assert found == (*announced, header.has_alpha)
    elif isinstance(header, str):
        assert header == picture


@pytest.mark.parametrize("seed", [1, 2])
def test_exotic_files_are_read_or_refused(tmp_path: Path, seed: int, capfd, caplog):
    cases = make(tmp_path, COUNT, seed)
    assert len({case.path for case in cases}) == COUNT
    for case in cases:
        try:
            check(case)
        except Exception as error:
            raise AssertionError(f"{case.kind}: {case.path}") from error
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_every_kind_comes_up(tmp_path: Path):
    kinds = {case.kind for case in make(tmp_path, COUNT, 1)}
    assert set(READABLE) | set(REFUSED) <= kinds


def test_the_same_seed_gives_the_same_files(tmp_path: Path):
    first, second, other = (
        make(tmp_path / str(number), 60, seed) for number, seed in enumerate([5, 5, 6])
    )
    contents = [[case.path.read_bytes() for case in cases] for cases in (first, second, other)]
    assert contents[0] == contents[1] != contents[2]
    assert [case.path.relative_to(tmp_path / "0") for case in first] == [
        case.path.relative_to(tmp_path / "1") for case in second
    ]
