"""Sources: the bundled photographs, and files that cannot be decoded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data as skimage_data

from dgunet_jax.data.sources import PHOTOGRAPHS, PictureFiles, photographs
from dgunet_jax.errors import UserError
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.writing import write


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("astronaut", "astronaut"),
        ("chelsea", "chelsea"),
        ("coffee", "coffee"),
        ("hubble_deep_field", "hubble_deep_field"),
        ("ihc", "immunohistochemistry"),
        ("retina", "retina"),
        ("rocket", "rocket"),
    ],
)
def test_photograph_has_the_pixels_scikit_image_reads(name: str, loader: str):
    picture = photographs([name])[0]
    assert picture["name"] == name
    assert picture["image"].dtype == np.uint8
    np.testing.assert_array_equal(picture["image"], getattr(skimage_data, loader)())


def test_photographs_come_in_the_order_of_their_names():
    source = photographs(["coffee", "astronaut", "coffee"])
    assert len(source) == 3
    assert [source[i]["name"] for i in range(3)] == ["coffee", "astronaut", "coffee"]
    assert len(photographs()) == len(PHOTOGRAPHS)


def test_unknown_photograph_is_named_with_the_known_ones():
    with pytest.raises(UserError, match="'lena'; known are astronaut, chelsea, coffee") as caught:
        photographs(["astronaut", "lena"])
    assert "\n" not in str(caught.value)


def test_photographs_need_neither_scikit_image_nor_grain_imported():
    code = (
        "import sys; from dgunet_jax.data.sources import photographs; photographs()[1]; "
        "print([m for m in ('skimage', 'grain', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_picture_is_decoded_once_and_cannot_be_changed(tmp_path: Path):
    path = tmp_path / "small.png"
    write(path, Picture(np.full((3, 4, 3), 7, np.uint8)))
    source = PictureFiles([path])
    first = source[0]["image"]
    path.unlink()
    assert source[0]["image"] is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0, 0] = 1


def test_damaged_file_is_named_when_it_is_reached(tmp_path: Path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    write(good, Picture(np.zeros((37, 31, 3), np.uint8)))
    bad.write_bytes(good.read_bytes()[:60])
    source = PictureFiles([good, bad])
    assert source[0]["image"].shape == (37, 31, 3)
    with pytest.raises(UserError) as caught:
        source[1]
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_index_past_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        photographs(["chelsea"])[1]
