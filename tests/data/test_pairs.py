"""Which files belong together, and that none is passed over."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from dgunet_jax.data.pairs import Pattern, find_pairs, holds_pairs, match_folders
from dgunet_jax.system.errors import UserError

FOLDERS = (
    ("input", "target"),
    ("blur", "sharp"),
    ("hazy", "gt"),
    ("hazy", "clear"),
    ("low", "high"),
    ("LQ", "GT"),
    ("lq", "gt"),
    ("LR", "HR"),
    ("Blur", "Sharp"),
    ("input", "gt"),
    ("Input", "GroundTruth"),
    ("input", "ground_truth"),
    ("noisy", "clean"),
    ("Noisy", "GT"),
    ("rain", "norain"),
    ("rainy_image", "no-rain image"),
    ("data", "gt"),
    ("input_crops", "target_crops"),
    ("low_quality", "high_quality"),
    ("train_blurry", "train_sharp"),
    ("Low-light", "Normal-light"),
    ("haze", "haze_free"),
)


def make(folder: Path, files: Iterable[str]) -> Path:
    """Empty files: which belong together follows from their names alone."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path) -> list[tuple[str, str, str]]:
    return [
        (pair.name, str(pair.input.relative_to(folder)), str(pair.target.relative_to(folder)))
        for pair in find_pairs(folder)
    ]


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_pairs(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    return message


def test_find_pairs_pairs_equal_stems_whatever_their_endings(tmp_path: Path):
    names = ["input/b.PNG", "input/a.png", "target/a.jpg", "target/b.tif"]
    assert found(make(tmp_path, names)) == [
        ("a", "input/a.png", "target/a.jpg"),
        ("b", "input/b.PNG", "target/b.tif"),
    ]


@pytest.mark.parametrize("names", FOLDERS, ids="-".join)
def test_find_pairs_knows_the_folder_names_of_data_sets(tmp_path: Path, names: tuple[str, str]):
    first, second = names
    make(tmp_path, [f"{first}/a.png", f"{second}/a.png", "others/b.png"])
    assert holds_pairs(tmp_path)
    assert found(tmp_path) == [("a", f"{first}/a.png", f"{second}/a.png")]


def test_find_pairs_takes_the_longest_beginning_up_to_an_underscore(tmp_path: Path):
    inputs = ["0001_0.8_0.2", "0001_0.85_0.1", "0002", "a_b_c", "a_b", "a_c"]
    targets = ["0001", "0002", "a", "a_b"]
    names = [f"input/{name}.jpg" for name in inputs] + [f"target/{name}.png" for name in targets]
    pairs = {Path(a).stem: Path(b).stem for _, a, b in found(make(tmp_path, names))}
    assert pairs == {
        "0001_0.8_0.2": "0001",
        "0001_0.85_0.1": "0001",
        "0002": "0002",
        "a_b_c": "a_b",
        "a_b": "a_b",
        "a_c": "a",
    }


def test_find_pairs_refuses_a_beginning_without_an_underscore(tmp_path: Path):
    message = refused(make(tmp_path, ["input/12.png", "input/1.png", "target/1.png"]))
    assert "files without a pair (1): input/12.png (no target)" in message


GOPRO = [
    f"{sequence}/{kind}/{number:06}.png"
    for sequence in ("GOPR0372_07_00", "GOPR0384_11_00")
    for kind in ("blur", "blur_gamma", "sharp")
    for number in (47, 48)
]


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_find_pairs_finds_gopro_as_it_comes(tmp_path: Path, part: str):
    make(tmp_path / part, GOPRO)
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == [
        "GOPR0372_07_00-000047",
        "GOPR0372_07_00-000048",
        "GOPR0384_11_00-000047",
        "GOPR0384_11_00-000048",
    ]
    first = tmp_path / part / "GOPR0372_07_00"
    assert pairs[0].input == first / "blur" / "000047.png"
    assert pairs[0].target == first / "sharp" / "000047.png"
    assert find_pairs(tmp_path / part) == pairs
    assert [pair.name for pair in find_pairs(first)] == ["000047", "000048"]


def test_find_pairs_does_not_mix_train_and_test(tmp_path: Path):
    for part in ("train", "test"):
        make(tmp_path / part, GOPRO)
    assert "name one of them" in refused(tmp_path)
    assert len(find_pairs(tmp_path / "test")) == 4


def test_find_pairs_looks_into_train(tmp_path: Path):
    make(tmp_path, ["train/input/a.png", "train/target/a.png", "test/a.png"])
    assert found(tmp_path) == [("a", "train/input/a.png", "train/target/a.png")]


def test_find_pairs_names_a_sequence_without_its_sharp_images(tmp_path: Path):
    make(tmp_path, [*GOPRO, "GOPR0385/blur/000001.png", "other/000001.png"])
    message = refused(tmp_path)
    for name in (
        "GOPR0385/blur/000001.png (no target)",
        "GOPR0385/sharp (missing)",
        "other/blur (missing)",
        "other/sharp (missing)",
    ):
        assert name in message


def test_find_pairs_ignores_other_folders_and_hidden_files(tmp_path: Path):
    names = ["input/a.png", "target/a.png", "input/.DS_Store", "target/._a.png", "kernel/1.png"]
    assert found(make(tmp_path, [*names, "readme.txt"])) == [("a", "input/a.png", "target/a.png")]


def test_find_pairs_names_every_file_without_a_pair(tmp_path: Path):
    names = [
        "input/alone.png",
        "input/twice.png",
        "input/twice.jpg",
        "input/x_1.png",
        "input/Thumbs.db",
        "input/more/a.png",
        "input/good.png",
        "target/good.png",
        "target/twice.png",
        "target/x.png",
        "target/x.bmp",
        "target/unused.png",
        "target/notes.txt",
    ]
    message = refused(make(tmp_path, names))
    assert "files without a pair (10): " in message
    assert "good" not in message
    for name in (
        "input/Thumbs.db (not a picture)",
        "input/more (a folder)",
        "target/notes.txt (not a picture)",
        "input/alone.png (no target)",
        "input/twice.png (ambiguous)",
        "input/twice.jpg (ambiguous)",
        "input/x_1.png (ambiguous)",
        "target/x.bmp (ambiguous)",
        "target/x.png (ambiguous)",
        "target/unused.png (no input)",
    ):
        assert name in message


def test_find_pairs_names_ten_files_and_counts_the_rest(tmp_path: Path):
    make(tmp_path, [f"input/{i:02}.png" for i in range(13)])
    (tmp_path / "target").mkdir()
    message = refused(tmp_path)
    assert "(13)" in message
    assert "input/09.png (no target) and 3 more; an input has the name of its target" in message
    assert "input/10.png" not in message


def test_find_pairs_refuses_folders_without_pairs(tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "missing")
    make(tmp_path, ["file.png", "clean/a.png"])
    assert "not a directory" in refused(tmp_path / "file.png")
    message = refused(tmp_path)
    assert "holds no pairs" in message
    assert "input/ and target/, blur/ and sharp/, hazy/ and gt/" in message
    for name in ("input", "target"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    assert "holds no pictures" in refused(tmp_path / "empty")


def test_holds_pairs_recognises_a_folder_of_pairs(tmp_path: Path):
    make(tmp_path, ["clean/a.png", "pairs/input/a.png", "pairs/target/a.png"])
    make(tmp_path / "gopro" / "train", GOPRO)
    assert not holds_pairs(tmp_path)
    assert not holds_pairs(tmp_path / "clean")
    assert holds_pairs(tmp_path / "pairs")
    assert holds_pairs(tmp_path / "gopro")


def test_find_pairs_names_folders_that_could_both_be_meant(tmp_path: Path):
    make(tmp_path / "one", ["noisy/a.png", "gt/a.png", "clean/a.png"])
    assert "gt/ and clean/ could both be meant" in refused(tmp_path / "one").replace(
        "clean/ and gt/", "gt/ and clean/"
    )
    make(tmp_path / "two", ["Input/a.png", "input/a.png", "target/a.png"])
    assert "Input/ and input/ could both be meant" in refused(tmp_path / "two")
    make(tmp_path / "three", ["blur_a/a.png", "sharp_a/a.png", "blur_b/a.png", "sharp_b/a.png"])
    assert "could both be meant" in refused(tmp_path / "three")


def test_holds_pairs_refuses_folders_that_differ_in_other_words(tmp_path: Path):
    make(tmp_path, ["blur_gamma/a.png", "sharp/a.png", "original_png/a.png", "noisy25/a.png"])
    assert not holds_pairs(tmp_path)


def test_find_pairs_finds_gopro_in_other_words(tmp_path: Path):
    make(tmp_path / "train", ["s1/Blurry/1.png", "s1/GT/1.png", "s2/Blurry/1.png", "s2/GT/1.png"])
    assert [pair.name for pair in find_pairs(tmp_path)] == ["s1-1", "s2-1"]


@pytest.mark.parametrize(
    ("pattern", "files", "expected"),
    [
        (
            "{}_rain.png -> {}_dry.png",
            ["input/1_rain.png", "input/2_rain.png", "target/1_dry.png", "target/2_dry.png"],
            [("1_rain", "1_rain.png", "1_dry.png"), ("2_rain", "2_rain.png", "2_dry.png")],
        ),
        (
            "{}_{}.png->{}.jpg",
            ["input/a_1.png", "input/a_2.png", "target/a.jpg"],
            [("a_1", "a_1.png", "a.jpg"), ("a_2", "a_2.png", "a.jpg")],
        ),
        ("w{}.png -> {}.png", ["w1.png", "1.png"], [("w1", "w1.png", "1.png")]),
        ("{}.png -> {}_gt.png", ["1.png", "1_gt.png"], [("1", "1.png", "1_gt.png")]),
        (
            "{}/bad/{}.png -> {}/good/{}.png",
            ["s/bad/1.png", "s/good/1.png", "t/bad/1.png", "t/good/1.png", "kernel/k.png"],
            [("s-bad-1", "1.png", "1.png"), ("t-bad-1", "1.png", "1.png")],
        ),
        ("X4/{}x4.png -> Y/{}.png", ["X4/1x4.png", "Y/1.png"], [("X4-1x4", "1x4.png", "1.png")]),
    ],
)
def test_pattern_says_how_names_differ(tmp_path: Path, pattern: str, files, expected):
    pairs = find_pairs(make(tmp_path, files), Pattern.parse(pattern))
    assert [(pair.name, pair.input.name, pair.target.name) for pair in pairs] == expected


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("{}_rain.png -> {}_dry.png", "input/7.png (does not fit the pattern)"),
        ("{}.png -> {}_dry.png", "input/1_rain.png (no target)"),
        ("input/{}.png -> target/{}_dry.png", "input/1_rain.png (no target)"),
    ],
)
def test_pattern_that_does_not_fit_is_named(tmp_path: Path, pattern: str, why: str):
    make(tmp_path, ["input/1_rain.png", "target/1_dry.png", "input/7.png", "target/7_dry.png"])
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path, Pattern.parse(pattern))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{}.png", "a -> b", "{}.png -> b.png", "{}.png -> {}{}.png", "{a} -> {a}", "/{} -> {}",
     "../{}.png -> {}.png", "{}->{}->{}"],
)  # fmt: skip
def test_pattern_parse_refuses_other_text(text: str):
    with pytest.raises(UserError, match=r"pairs is .*; it must be a pattern such as"):
        Pattern.parse(text)


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
def test_match_folders_pairs_names_as_published(tmp_path: Path, image: str, target: str):
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
def test_match_folders_does_not_pair_names_of_other_images(tmp_path: Path, image: str, target: str):
    found = matched(tmp_path, [image], [target])
    assert not found.pairs
    assert [path.name for path in found.without_target] == [image]
    assert [path.name for path in found.without_input] == [target]


def test_match_folders_reports_two_names_for_one_as_ambiguous(tmp_path: Path):
    found = matched(
        tmp_path, ["rain-1.png", "rain-01.png", "rain-2.png"], ["norain-1.png", "2.bmp"]
    )
    assert [(a.name, b.name) for a, b in found.pairs] == [("rain-2.png", "2.bmp")]
    ((ours, theirs),) = found.ambiguous
    assert {path.name for path in (*ours, *theirs)} == {
        "rain-1.png", "rain-01.png", "norain-1.png",
    }  # fmt: skip


def test_match_folders_prefers_equal_names(tmp_path: Path):
    found = matched(tmp_path, ["1.png", "01.png"], ["1.png", "3.png"])
    assert [(a.name, b.name) for a, b in found.pairs] == [("1.png", "1.png")]
    assert [path.name for path in found.without_target] == ["01.png"]
    assert [path.name for path in found.without_input] == ["3.png"]
