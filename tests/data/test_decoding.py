"""Pictures that are kept, those that are not, and that nobody sees the difference."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dgunet_jax.data import sources
from dgunet_jax.data.sources import Decoder, quarter_of_memory
from dgunet_jax.images import read_rgb
from dgunet_jax.system import memory
from dgunet_jax.system.errors import UserError
from tests.data.arrays import save
from tests.images.encodings import photograph

SIZE = (37, 31)
BYTES = 37 * 31 * 3


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """PNG in colour, in grey, with an opaque alpha channel and under a wrong name; JPEG."""
    Image.fromarray(photograph()).save(tmp_path / "colour.png")
    Image.fromarray(photograph()[..., 1]).save(tmp_path / "grey.png")
    Image.fromarray(photograph()).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(photograph()).save(tmp_path / "named.png", "JPEG")
    Image.fromarray(photograph()).save(tmp_path / "photo.jpg")
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("room", [0, 2 * BYTES, 100 * BYTES])
def test_decoder_reads_what_the_file_holds_kept_or_not(paths: list[Path], room: int):
    decoder = Decoder(room)
    for _ in range(2):
        for path in paths:
            image = decoder.read(path, SIZE)
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image, read_rgb(path))
            with pytest.raises(ValueError, match="read-only"):
                image[0, 0, 0] = 1


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (BYTES - 1, 0), (3 * BYTES - 1, 2), (9**9, 5)])
def test_the_first_pictures_are_kept_as_long_as_there_is_room(
    paths: list[Path], room: int, kept: int
):
    decoder = Decoder(room)
    for path in [*paths, *paths]:
        decoder.read(path, SIZE)
    for path in paths:
        path.unlink()
    for path in paths[:kept]:
        assert decoder.read(path, SIZE).shape == (37, 31, 3)
    for path in paths[kept:]:
        with pytest.raises(UserError, match=f"^{path}: "):
            decoder.read(path, SIZE)


def test_a_smaller_picture_is_kept_where_a_larger_one_has_no_room(tmp_path: Path):
    large, small = save(tmp_path / "large.png"), save(tmp_path / "small.png", 5, 5)
    decoder = Decoder(BYTES - 1)
    decoder.read(large, SIZE)
    kept = decoder.read(small, (5, 5))
    small.unlink()
    np.testing.assert_array_equal(decoder.read(small, (5, 5)), kept)


def test_threads_get_the_same_pictures(paths: list[Path], monkeypatch: pytest.MonkeyPatch):
    together = threading.Barrier(4, timeout=30)

    def slowly(path):
        together.wait()
        return read_rgb(path)

    monkeypatch.setattr(sources, "read_rgb", slowly)
    decoder = Decoder(BYTES)
    jpeg = paths[-1]
    with ThreadPoolExecutor(4) as pool:
        images = [*pool.map(lambda _: decoder.read(jpeg, SIZE), range(4))]
    for image in images:
        np.testing.assert_array_equal(image, read_rgb(jpeg))


@pytest.mark.parametrize("room", [0, 100 * BYTES])
@pytest.mark.parametrize("size", [(36, 31), (37, 32), (38, 31)])
def test_a_file_whose_size_has_changed_is_named(paths: list[Path], room: int, size):
    for path in paths:
        with pytest.raises(UserError, match=f"^{path}: .*changed") as caught:
            Decoder(room).read(path, size)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("room", [0, 100 * BYTES])
@pytest.mark.parametrize("name", ["colour.png", "photo.jpg"])
def test_a_damaged_file_is_named(paths: list[Path], room: int, name: str):
    (path,) = (path for path in paths if path.name == name)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"^{path}: ") as caught:
        Decoder(room).read(path, SIZE)
    assert "\n" not in str(caught.value)


def test_a_quarter_of_the_memory_is_no_more_than_that_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "cgroup")
    whole = quarter_of_memory()
    assert whole > 1 << 20
    limit.write_text("max\n")
    assert quarter_of_memory() == whole
    limit.write_text(f"{1 << 20}\n")
    assert quarter_of_memory() == 1 << 18
    limit.write_text(f"{1 << 62}\n")
    assert quarter_of_memory() == whole
    monkeypatch.delattr(memory.os, "sysconf")
    assert quarter_of_memory() == 1 << 30
