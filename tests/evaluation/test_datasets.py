"""Data sets are found as they are published, and what is wrong with them is named."""

import os
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import PROTOCOLS
from dgunet_jax.images import Picture, write
from tests.evaluation.folders import SIZE, clean, degraded, pairs, save

RGB = PROTOCOLS["rgb"]


def names(found):
    return [sample.name for sample in found.samples]


@pytest.mark.parametrize(
    ("inside", "folders"),
    [
        ("", ("input", "target")),
        ("test", ("input", "target")),
        ("outdoor", ("hazy", "gt")),
        ("", ("hazy", "clear")),
        ("eval15", ("low", "high")),
        ("test", ("blur", "sharp")),
    ],
)
def test_find_knows_folders_of_pairs(tmp_path, inside, folders):
    pairs(tmp_path / inside, 2, folders)
    found = find(RGB, tmp_path)
    assert names(found) == ["0", "1"]
    assert (found.failures, found.others) == ([], [])
    image, target, _ = found.samples[1].read()
    np.testing.assert_array_equal(target, clean(1))
    np.testing.assert_array_equal(image, degraded(1).astype(np.float32) / np.float32(255))
    assert found.samples[1].size == SIZE


def test_find_gopro_as_published(tmp_path):
    for sequence in ("GOPR0384_11_00", "GOPR0385_11_01"):
        pairs(tmp_path / "test" / sequence, 2, ("blur", "sharp"))
        save(tmp_path / "test" / sequence / "blur_gamma" / "0.png", clean(0))
    pairs(tmp_path / "train" / "GOPR0372_07_00", 1, ("blur", "sharp"))
    found = find(PROTOCOLS["gopro"], tmp_path)
    assert names(found) == [
        "GOPR0384_11_00-0", "GOPR0384_11_00-1", "GOPR0385_11_01-0", "GOPR0385_11_01-1",
    ]  # fmt: skip
    assert found.samples[0].places == ("GOPR0384_11_00/0", "GOPR0384_11_00/blur/0")


@pytest.mark.parametrize(
    ("lacking", "left", "why"),
    [("sharp", "blur", "no target"), ("blur", "sharp", "no input")],
)
def test_find_names_a_sequence_that_lacks_a_folder(tmp_path, lacking, left, why):
    for sequence in "abc":
        pairs(tmp_path / sequence, 2, ("blur", "sharp"))
    for path in (tmp_path / "b" / lacking).iterdir():
        path.unlink()
    (tmp_path / "b" / lacking).rmdir()
    save(tmp_path / "other" / "0.png", clean(0))
    found = find(PROTOCOLS["gopro"], tmp_path)
    assert names(found) == ["a-0", "a-1", "c-0", "c-1"]
    assert found.failures == [f"{tmp_path}/b/{left}/{i}.png: {why}" for i in range(2)]


def test_find_looks_into_other_folders_only_for_sequences(tmp_path):
    for name in ("Rain100L", "Rain100H"):
        pairs(tmp_path / name, 2)
    with pytest.raises(UserError, match="holds no pairs; they lie in"):
        find(PROTOCOLS["rain100l"], tmp_path)
    assert names(find(PROTOCOLS["rain100l"], tmp_path / "Rain100L")) == ["0", "1"]
    assert len(find(RGB, tmp_path).samples) == 4


def test_find_gives_several_hazy_images_one_target(tmp_path):
    save(tmp_path / "gt" / "0001.png", clean(1))
    save(tmp_path / "gt" / "0002_a.png", clean(2))
    for name in ("0001_0.8_0.2", "0001_0.9_0.1", "0002_a_0.8_0.2"):
        save(tmp_path / "hazy" / f"{name}.png", degraded(int(name[3])))
    found = find(PROTOCOLS["sots"], tmp_path)
    assert names(found) == ["0001_0.8_0.2", "0001_0.9_0.1", "0002_a_0.8_0.2"]
    for sample in found.samples:
        np.testing.assert_array_equal(sample.read().target, clean(int(sample.name[3])))


def test_find_realblur_as_its_list_says(tmp_path):
    lines = []
    for i in range(2):
        scene = f"RealBlur-J_ECC/scene{i:03}"
        save(tmp_path / scene / "blur" / "blur_1.png", degraded(i))
        save(tmp_path / scene / "gt" / "gt_1.png", clean(i))
        lines.append(f"{scene}/gt/gt_1.png {scene}/blur/blur_1.png\n")
    lines.append("RealBlur-J_ECC/scene000/gt/gt_1.png RealBlur-J_ECC/scene009/blur/blur_1.png\n")
    (tmp_path / "RealBlur_J_test_list.txt").write_text("".join(lines))
    # They may lie together.
    (tmp_path / "RealBlur_R_test_list.txt").write_text(lines[1].replace("-J_", "-R_"))
    found = find(PROTOCOLS["realblur_j"], tmp_path)
    assert names(found) == ["scene000-blur_1", "scene001-blur_1"]
    np.testing.assert_array_equal(found.samples[1].read().target, clean(1))
    (failure,) = found.failures
    assert "scene009/blur/blur_1.png: no such file (of RealBlur_J_test_list.txt)" in failure
    failures = find(PROTOCOLS["realblur_r"], tmp_path).failures
    for failure, name in zip(failures, ("blur/blur_1.png", "gt/gt_1.png"), strict=True):
        assert f"/RealBlur-R_ECC/scene001/{name}: no such file (of RealBlur_R_" in failure


def test_find_refuses_a_list_of_files_outside_the_folder(tmp_path):
    pairs(tmp_path, 1)
    outside = save(tmp_path.parent / "outside.png", clean(0))
    lines = [f"{outside} input/0.png", "target/0.png ../outside.png", "target/0.png input/0.png"]
    (tmp_path / "RealBlur_J_test_list.txt").write_text("\n".join(lines))
    found = find(PROTOCOLS["realblur_j"], tmp_path)
    assert len(found.samples) == 1
    assert found.failures == [
        f"{tmp_path}/RealBlur_J_test_list.txt: line {i} names a file that is not in the folder"
        for i in (1, 2)
    ]


@pytest.mark.parametrize(
    ("image", "target", "folders"),
    [
        ("rain-001", "norain-001", ("input", "target")),
        ("0_rain", "0_clean", ("data", "gt")),
        ("0001_NOISY_SRGB_010", "0001_GT_SRGB_010", ("Noisy", "GT")),
        ("1", "001", ("Input", "GroundTruth")),
    ],
)
def test_find_matches_names_as_published(tmp_path, image, target, folders):
    save(tmp_path / folders[0] / f"{image}.png", degraded(0))
    save(tmp_path / folders[1] / f"{target}.PNG", clean(0))
    found = find(RGB, tmp_path)
    assert (names(found), found.failures) == ([image], [])


def test_find_names_an_input_that_is_smaller_than_its_target(tmp_path):
    save(tmp_path / "LR" / "0001x2.png", clean(0)[::2, ::2])
    save(tmp_path / "HR" / "0001.png", clean(0))
    (failure,) = find(RGB, tmp_path).failures
    assert "0001x2.png is 16×12 and" in failure
    assert "they must have one size" in failure


def test_find_names_links_that_cannot_be_followed(tmp_path):
    save(tmp_path / "1.png", clean(1))
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    found = find(PROTOCOLS["cbsd68_25"], tmp_path)
    assert names(found) == ["1"]
    reason = "cannot be read: Too many levels of symbolic links"
    assert found.failures == [f"{tmp_path}/itself: {reason}"]


def test_find_realblur_without_its_list_is_pairs(tmp_path):
    (tmp_path / "RealBlur_R_test_list.txt").write_text("a.png b.png")
    with pytest.raises(UserError, match=r"holds neither RealBlur_J_test_list\.txt nor pairs; they"):
        find(PROTOCOLS["realblur_j"], tmp_path)
    pairs(tmp_path, 2, ("blur", "sharp"))
    assert names(find(PROTOCOLS["realblur_j"], tmp_path)) == ["0", "1"]


def test_find_ignores_other_lists(tmp_path):
    pairs(tmp_path, 2)
    (tmp_path / "my_test_list.txt").write_text("one.png two.png")
    found = find(RGB, tmp_path)
    assert (names(found), found.failures) == (["0", "1"], [])


def test_find_hide_as_published(tmp_path):
    for i, kind in enumerate(("test-close-ups", "test-long-shot", "test-long-shot")):
        save(tmp_path / "test" / kind / f"{i}fromGOPR0950.png", degraded(i))
        save(tmp_path / "GT" / f"{i}fromGOPR0950.png", clean(i))
    save(tmp_path / "GT" / "of_training.png", clean(7))
    save(tmp_path / "test" / "test-close-ups" / "alone.png", degraded(7))
    found = find(PROTOCOLS["hide"], tmp_path)
    assert names(found) == [f"{i}fromGOPR0950" for i in range(3)]
    np.testing.assert_array_equal(found.samples[2].read().target, clean(2))
    assert found.failures == [f"{tmp_path}/test/test-close-ups/alone.png: no target"]


def test_find_hide_as_pairs(tmp_path):
    pairs(tmp_path / "test", 2)
    assert names(find(PROTOCOLS["hide"], tmp_path)) == ["0", "1"]


def test_find_names_what_is_wrong_and_goes_on(tmp_path):
    pairs(tmp_path, 6)
    (tmp_path / "target" / "1.png").unlink()
    (tmp_path / "input" / "2.png").unlink()
    save(tmp_path / "target" / "3.png", clean(3)[1:])
    save(tmp_path / "input" / "4.bmp", degraded(4))
    (tmp_path / "input" / "5.png").write_text("words")
    (tmp_path / "input" / "readme.txt").write_text("words")
    found = find(RGB, tmp_path)
    assert names(found) == ["0"]
    assert found.others == [tmp_path / "input" / "readme.txt"]
    assert len(found.failures) == 6
    for part in (
        f"{tmp_path}/input/1.png: no target",
        f"{tmp_path}/target/2.png: no input",
        f"{tmp_path}/input/3.png is 32×24 and {tmp_path}/target/3.png 32×23 pixels large",
        f"{tmp_path}/input/4.bmp: ambiguous",
        f"{tmp_path}/input/4.png: ambiguous",
        f"{tmp_path}/input/5.png: not a picture, or damaged",
    ):
        assert sum(part in failure for failure in found.failures) == 1, part


def test_noise_of_clean_images_is_gaussian_and_always_the_same(tmp_path):
    big = np.full((200, 300, 3), 250, np.uint8)
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", big)
    first, second = find(PROTOCOLS["cbsd68_50"], tmp_path).samples
    image, target, _ = first.read()
    np.testing.assert_array_equal(target, big)
    noise = 255 * image - 250.0
    assert noise.std() == pytest.approx(50, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert image.max() > 1.2  # it is not clipped
    np.testing.assert_array_equal(first.read().image, image)
    np.testing.assert_array_equal(second.read().image, image)
    (tmp_path / "a.png").unlink()
    (alone,) = find(PROTOCOLS["cbsd68_50"], tmp_path).samples
    np.testing.assert_array_equal(alone.read().image, second.read().image)


def test_noise_in_bytes_is_clipped_cut_off_and_added_to_the_middle(tmp_path):
    big = np.random.default_rng(1).integers(0, 256, (53, 37, 3), dtype=np.uint8)
    save(tmp_path / "a.png", big)
    (sample,) = find(PROTOCOLS["cbsd68_25_8bit"], tmp_path).samples
    assert sample.size == (48, 32)
    image, target, _ = sample.read()
    np.testing.assert_array_equal(target, big[2:50, 2:34])
    assert target is not None
    noise = 25 * np.random.default_rng(0).standard_normal(target.shape)
    expected = np.floor((target + noise).clip(0, 255))
    np.testing.assert_allclose(image * 255, expected, rtol=0, atol=1e-3)


def test_find_clean_images_of_a_set_that_has_noisy_ones_too(tmp_path):
    save(tmp_path / "original_png" / "1.png", clean(1))
    save(tmp_path / "noisy25" / "1.png", degraded(1))
    (tmp_path / "original_png" / "inside").mkdir()
    for other in ("readme.txt", "inside/1.mat", "inside/.hidden"):
        (tmp_path / "original_png" / other).write_text("words")
    found = find(PROTOCOLS["cbsd68_25"], tmp_path)
    assert names(found) == ["1"]
    others = ("inside/1.mat", "readme.txt")
    assert found.others == [tmp_path / "original_png" / other for other in others]


def test_find_refuses_more_images_than_the_data_set_has(tmp_path):
    for i in range(11):
        save(tmp_path / f"{i}.png", clean(i))
    assert len(find(PROTOCOLS["set11_25"], tmp_path).samples) == 11
    save(tmp_path / "again" / "0.png", clean(0))
    with pytest.raises(UserError) as error:
        find(PROTOCOLS["set11_25"], tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: holds 12 pictures, but Set11, 25 % measured, tiles has 11; name the folder"
        " that holds only these"
    )


@pytest.mark.parametrize("protocol", ["rgb", "luma", "cbsd68_25", "set11_25"])
def test_find_names_images_that_could_not_be_scored(tmp_path, protocol):
    side = PROTOCOLS[protocol].window
    deep = Picture(clean(3).astype(np.uint16) * 257)
    for kind in ("input", "target"):
        save(tmp_path / kind / "0.png", clean(0)[:side, :side])
        save(tmp_path / kind / "1.png", clean(1)[: side - 1])
        save(tmp_path / kind / "2.png", clean(2)[:, : side - 1])
        write(tmp_path / kind / "3.png", deep)
    found = find(PROTOCOLS[protocol], tmp_path)
    assert names(found) == ["0"]
    first = tmp_path / ("input" if PROTOCOLS[protocol].layout == "sequences" else "target")
    window = f"the measure's window needs at least {side}×{side}"
    assert sorted(found.failures) == [
        f"{first}/1.png: is 32×{side - 1} pixels large; {window}",
        f"{first}/2.png: is {side - 1}×24 pixels large; {window}",
        f"{first}/3.png: has 16 bits per channel; only 8 are scored",
    ]


def test_find_names_files_that_are_not_utf_8(tmp_path):
    pairs(tmp_path, 2)
    for kind in ("input", "target"):
        bad = Path(os.fsdecode(f"{tmp_path}/{kind}/".encode() + b"b\xfcd.png"))
        (tmp_path / kind / "1.png").rename(bad)
    found = find(RGB, tmp_path)
    assert names(found) == ["0"]
    assert found.failures == [f"{tmp_path}/input/b\\xfcd.png: its name is not UTF-8; rename it"]
    bad.unlink()
    (failure,) = find(RGB, tmp_path).failures
    assert failure == f"{tmp_path}/input/b\\xfcd.png: no target"


def test_find_names_two_images_of_one_name(tmp_path):
    save(tmp_path / "1.png", clean(1))
    save(tmp_path / "1.bmp", clean(1))
    found = find(PROTOCOLS["cbsd68_25"], tmp_path)
    assert names(found) == ["1"]
    assert found.failures == [f"{tmp_path}/1.png: has the name of {tmp_path}/1.bmp"]


def test_find_refuses_folders_without_samples(tmp_path):
    with pytest.raises(UserError, match=r"no such folder"):
        find(RGB, tmp_path / "gone")
    with pytest.raises(UserError, match=r"holds no pairs; they lie in input/ and target/, blur/"):
        find(RGB, tmp_path)
    for kind in ("input", "target"):
        (tmp_path / kind).mkdir()
    for protocol in (RGB, PROTOCOLS["cbsd68_25"]):
        with pytest.raises(UserError, match="holds no pictures"):
            find(protocol, tmp_path)


def test_find_names_images_of_formats_that_are_not_read(tmp_path):
    pairs(tmp_path, 1)
    (tmp_path / "input" / "2.psd").write_bytes(b"8BPS\0\1")
    (tmp_path / "input" / "notes.txt").touch()
    found = find(PROTOCOLS["rgb"], tmp_path)
    assert found.others == [tmp_path / "input" / "notes.txt"]
    (failure,) = found.failures
    assert failure.startswith(f"{tmp_path / 'input' / '2.psd'}: ")
