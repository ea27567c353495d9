"""Sources: the bundled photographs, folders, and files that cannot be used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as skimage_data

from dgunet_jax.data.sources import PHOTOGRAPHS, Files, FileSource, open_source, photographs
from dgunet_jax.images import Picture, read_rgb, write
from dgunet_jax.system.errors import UserError
from tests.data.arrays import save


def save_pairs(folder: Path, count: int) -> Path:
    for i in range(count):
        save(folder / f"input/{i}_rain.png", seed=i)
        save(folder / f"target/{i}.png", seed=100 + i)
    return folder


def refused(where: Path | str, pairs: bool) -> str:
    with pytest.raises(UserError) as caught:
        open_source(str(where), pairs=pairs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    source = photographs([name])
    (image,) = source.read(0)
    assert source.name(0) == name
    assert not source.pairs
    assert source.size(0) == image.shape[:2]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, getattr(skimage_data, loader)())


def test_photographs_come_in_the_order_of_their_names():
    source = photographs(["coffee", "astronaut", "coffee"])
    assert [source.name(i) for i in range(len(source))] == ["coffee", "astronaut", "coffee"]
    assert len(photographs()) == len(PHOTOGRAPHS)


def test_photographs_are_opened_by_their_names():
    source = open_source("photographs:rocket, chelsea", pairs=False)
    assert [source.name(i) for i in range(len(source))] == ["rocket", "chelsea"]
    assert "no pairs" in refused("photographs:rocket", pairs=True)


@pytest.mark.parametrize("names", ["astronaut,lena", "astronaut,", ""])
def test_unknown_photograph_is_named_with_the_known_ones(names: str):
    unknown = names.split(",")[-1]
    message = refused(f"photographs:{names}", pairs=False)
    assert f"unknown photograph {unknown!r}; known are astronaut, chelsea, coffee" in message


def test_photographs_need_neither_scikit_image_nor_grain_imported():
    code = (
        "import sys; from dgunet_jax.data.sources import photographs; photographs().read(1); "
        "print([m for m in ('skimage', 'grain', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pictures_of_a_folder_come_from_any_depth_in_the_order_of_their_paths(tmp_path: Path):
    for i, name in enumerate(["b.png", "a/z.jpg", "a/b/c.TIF", "c.bmp"]):
        save(tmp_path / "x.png", seed=i)
        image = Image.open(tmp_path / "x.png")
        (tmp_path / "clean" / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "clean" / name)
    for name in ("readme.txt", ".hidden.png", ".cache/d.png"):
        (tmp_path / "clean" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "clean" / name).write_text("no picture")
    source = open_source(str(tmp_path / "clean"), pairs=False)
    assert [source.name(i) for i in range(len(source))] == ["a-b-c", "a-z", "b", "c"]
    for i, name in enumerate(["a/b/c.TIF", "a/z.jpg", "b.png", "c.bmp"]):
        (image,) = source.read(i)
        np.testing.assert_array_equal(image, read_rgb(tmp_path / "clean" / name))


def test_links_are_followed_once(tmp_path: Path):
    save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "clean")
    source = open_source(str(tmp_path / "clean"), pairs=False)
    assert [source.name(i) for i in range(len(source))] == ["link-a"]


def test_a_pair_is_its_input_and_its_target(tmp_path: Path):
    source = open_source(str(save_pairs(tmp_path, 3)), pairs=True)
    assert source.pairs
    assert len(source) == 3
    for i in range(3):
        assert source.name(i) == f"{i}_rain"
        assert source.size(i) == (37, 31)
        degraded, clean = source.read(i)
        np.testing.assert_array_equal(degraded, read_rgb(tmp_path / f"input/{i}_rain.png"))
        np.testing.assert_array_equal(clean, read_rgb(tmp_path / f"target/{i}.png"))


def test_a_picture_that_stands_upright_has_its_upright_size(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "lying.jpg"
    Image.fromarray(np.zeros((37, 31, 3), np.uint8)).save(path, exif=exif)
    source = open_source(str(tmp_path), pairs=False)
    assert source.size(0) == (31, 37)
    assert source.read(0)[0].shape == (31, 37, 3)


def test_kinds_of_folders_are_not_confused(tmp_path: Path):
    save_pairs(tmp_path / "data" / "train", 1)
    assert "holds pairs" in refused(tmp_path / "data" / "train", pairs=False)
    assert "holds pairs" in refused(tmp_path / "data", pairs=False)
    assert "holds no pairs" in refused(tmp_path / "data/train/target", pairs=True)
    assert len(open_source(str(tmp_path / "data/train/target"), pairs=False)) == 1


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    file = save(tmp_path / "a.png")
    for pairs in (True, False):
        assert refused(tmp_path / "missing", pairs) == f"{tmp_path}/missing: no such folder"
        assert refused(file, pairs) == f"{file}: not a directory"
    assert "holds no pictures (their names end in .bmp, " in refused(tmp_path / "empty", False)


def test_pictures_of_a_pair_have_one_size(tmp_path: Path):
    save_pairs(tmp_path, 3)
    save(tmp_path / "input/1_rain.png", 37, 30)
    message = refused(tmp_path, pairs=True)
    assert f"{tmp_path}/input/1_rain.png is 30×37" in message
    assert f"{tmp_path}/target/1.png is 31×37" in message
    assert "must have one size" in message
    assert "0_rain" not in message


def test_all_unusable_pictures_are_named_before_any_is_decoded(tmp_path: Path):
    save_pairs(tmp_path, 5)
    truncated, text, deep = (tmp_path / f"input/{i}_rain.png" for i in range(3))
    truncated.write_bytes(truncated.read_bytes()[:60])
    text.write_text("no picture")
    write(deep, Picture(np.zeros((37, 31, 3), np.uint16)))
    save(tmp_path / "target/3.png", 31, 37)
    message = refused(tmp_path, pairs=True)
    assert message.startswith("unusable pictures (4): ")
    for path in (truncated, text, deep, tmp_path / "input/3_rain.png", tmp_path / "target/3.png"):
        assert str(path) in message
    assert "4_rain" not in message
    assert "16 bits" in message


def test_many_unusable_pictures_are_counted(tmp_path: Path):
    for i in range(14):
        (tmp_path / f"{i:02}.png").write_bytes(b"")
    message = refused(tmp_path, pairs=False)
    assert message.startswith("unusable pictures (14): ")
    assert message.endswith(" and 4 more")
    assert f"{tmp_path}/09.png" in message
    assert f"{tmp_path}/10.png" not in message


def test_damage_behind_the_header_is_named_when_it_is_reached(tmp_path: Path):
    good, bad = save(tmp_path / "good.png"), save(tmp_path / "bad.png", seed=1)
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    source = FileSource([Files("good", (good,)), Files("bad", (bad,))], cache_bytes=0)
    assert source.read(0)[0].shape == (37, 31, 3)
    with pytest.raises(UserError, match=f"^{bad}: ") as caught:
        source.read(1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cache_bytes", "kept"), [(None, 2), (37 * 31 * 3, 1), (0, 0)])
def test_pictures_are_kept_in_memory_as_far_as_wished(
    tmp_path: Path, cache_bytes: int | None, kept: int
):
    paths = [save(tmp_path / f"{i}.png", seed=i) for i in range(2)]
    source = open_source(str(tmp_path), pairs=False, cache_bytes=cache_bytes)
    for i in range(2):
        source.read(i)
    for path in paths:
        path.unlink()
    for i in range(kept):
        assert source.read(i)[0].shape == (37, 31, 3)
    for i in range(kept, 2):
        with pytest.raises(UserError, match=f"^{paths[i]}: "):
            source.read(i)


def test_index_past_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        photographs(["chelsea"]).read(1)
