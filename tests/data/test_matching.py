"""Names as data sets are published belong together, and no others do."""

from pathlib import Path

import pytest

from dgunet_jax.data.pairs import match_folders


def matched(tmp_path: Path, inputs, targets):
    for folder, names in (("input", inputs), ("target", targets)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    return match_folders(tmp_path / "input", tmp_path / "target")


@pytest.mark.parametrize(
    ("image", "target"),
    [
        ("rain-{:03}.png", "norain-{:03}.png"),
        ("{}_rain.png", "{}_clean.png"),
        ("{:04}x2.png", "{:04}.png"),
        ("{:04}_x4.jpg", "{:04}.png"),
        ("{:04}_NOISY_SRGB_010.PNG", "{:04}_GT_SRGB_010.PNG"),
        ("{}.png", "{:03}.png"),
        ("{:05}.png", "{}.png"),
        ("low{:05}.png", "normal{:05}.png"),
        ("{:03}_lq.png", "{:03}_hq.png"),
        ("Blur_{}.png", "sharp_{}.jpg"),
        ("img_{:03}_SRF_4_LR.png", "img_{:03}_SRF_4_HR.png"),
        ("blur_{}.png", "gt_{}.png"),
        ("Canon_{}_real.JPG", "Canon_{}_mean.JPG"),
        ("{}_hazy.jpg", "{}_GT.jpg"),
        ("rain {} input.png", "rain {} no-rain.png"),
    ],
)
def test_names_as_published(tmp_path: Path, image: str, target: str):
    numbers = [1, 2, 10, 12]
    found = matched(tmp_path, map(image.format, numbers), map(target.format, numbers))
    pairs = {(a.name, b.name) for a, b in found.pairs}
    assert pairs == {(image.format(number), target.format(number)) for number in numbers}
    assert not (found.without_input or found.without_target or found.ambiguous or found.others)


@pytest.mark.parametrize(
    ("image", "target"),
    [
        ("rain-001.png", "norain-002.png"),
        ("12.png", "1.png"),
        ("0_clean.png", "0_rain.png"),
        ("a1_b2.png", "a2_b1.png"),
        ("frame1.png", "picture1.png"),
        ("1_1.png", "11.png"),
    ],
)
def test_names_of_other_pictures(tmp_path: Path, image: str, target: str):
    found = matched(tmp_path, [image], [target])
    assert not found.pairs
    assert [path.name for path in found.without_target] == [image]
    assert [path.name for path in found.without_input] == [target]


def test_two_names_for_one_are_ambiguous(tmp_path: Path):
    found = matched(
        tmp_path, ["rain-1.png", "rain-01.png", "rain-2.png"], ["norain-1.png", "2.bmp"]
    )
    assert [(a.name, b.name) for a, b in found.pairs] == [("rain-2.png", "2.bmp")]
    ((ours, theirs),) = found.ambiguous
    assert {path.name for path in (*ours, *theirs)} == {
        "rain-1.png", "rain-01.png", "norain-1.png",
    }  # fmt: skip


def test_a_name_that_is_the_same_comes_first(tmp_path: Path):
    found = matched(tmp_path, ["1.png", "01.png"], ["1.png", "3.png"])
    assert [(a.name, b.name) for a, b in found.pairs] == [("1.png", "1.png")]
    assert [path.name for path in found.without_target] == ["01.png"]
    assert [path.name for path in found.without_input] == ["3.png"]
