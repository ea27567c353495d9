import os
from pathlib import Path

import pytest

from dgunet_jax.restoration.inputs import Input, _folds_names, find, place
from dgunet_jax.system.errors import UserError

SIZE = (37, 31)


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png", "sub/a.png", "sub/deep/c.tif"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Path("photos/.thumbnails").mkdir()
    Path("photos/.thumbnails/t.png").touch()
    return tmp_path


def places(*arguments, output=None):
    return {str(each.place): each.meant for each in find(arguments, output)[0]}


def test_a_folder_keeps_its_tree_and_hidden_files_are_left_out():
    assert places("photos") == {
        "a.png": True,
        "b.JPG": True,
        "notes.txt": False,
        "sub/a.png": True,
        "sub/deep/c.tif": True,
    }


def test_the_output_folder_is_no_input():
    assert "deep/c.tif" not in places("photos/sub", output=Path("photos/sub/deep"))
    assert places("photos/**/*.tif", output=Path("photos/sub/deep")) == {}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*.png", {"a.png"}),
        ("photos/**/*.png", {"a.png", "sub/a.png"}),
        ("photos/s*", {"sub/a.png", "sub/deep/c.tif"}),
        ("photos/sub/deep/?.[t]if", {"c.tif"}),
    ],
)
def test_patterns(pattern, found):
    assert set(places(pattern)) == found


def test_a_file_is_taken_once():
    inputs, failures = find(["photos/a.png", "photos", "photos/a.png"], None)
    assert [str(each.place) for each in inputs].count("a.png") == 1
    assert not failures


def test_a_name_with_a_bracket_is_a_name_if_it_exists():
    Path("a[1].png").touch()
    assert places("a[1].png") == {"a[1].png": True}


def test_what_means_nothing_is_told_and_the_rest_is_found():
    Path("empty").mkdir()
    inputs, failures = find(["empty", "photos/*.bmp", "gone.png", "photos/a.png"], None)
    assert failures == ["empty: there are no files in this folder", "photos/*.bmp: no file matches"]
    assert [str(each.path) for each in inputs] == ["gone.png", "photos/a.png"]


def test_links_to_folders_are_followed_once():
    Path("elsewhere").mkdir()
    Path("elsewhere/x.png").touch()
    Path("photos/one").symlink_to(Path("elsewhere").resolve())
    Path("photos/two").symlink_to(Path("elsewhere").resolve())
    Path("elsewhere/back").symlink_to(Path("photos").resolve())
    inputs, failures = find(["photos"], None)
    linked = sorted(str(each.place) for each in inputs if each.path.name == "x.png")
    assert linked == ["one/x.png"]
    assert not failures


@pytest.mark.parametrize("pattern", ["photos", "photos/**", "photos/**/*.png", "**/*.png"])
def test_loops_of_links_are_walked_once(pattern):
    before = places(pattern)
    for name in ("again", "sub/back", "sub/deep/back"):
        Path("photos", name).symlink_to(Path("photos").resolve())
    inputs, failures = find([pattern], None)
    assert {str(each.place): each.meant for each in inputs} == before
    assert not failures


def test_a_real_folder_comes_before_links_to_it():
    Path("photos/a_link").symlink_to("sub")
    for argument in ("photos", "photos/**/*", "photos/*/*.png", "photos/*"):
        assert "sub/a.png" in places(argument)
        assert "a_link/a.png" not in places(argument)


def test_links_that_lead_nowhere_are_told_and_the_rest_is_found():
    Path("photos/itself").symlink_to("itself")
    Path("photos/gone").symlink_to("nothing")
    Path("photos/gone.png").symlink_to("nothing.png")
    inputs, failures = find(["photos", "photos/itself", "photos/*.png"], None)
    assert failures == [
        "photos/gone: cannot be read: No such file or directory",
        "photos/itself: cannot be read: Too many levels of symbolic links",
        "photos/itself: cannot be read: Too many levels of symbolic links",
    ]
    found = [str(each.place) for each in inputs]
    assert "a.png" in found
    assert "gone.png" in found  # reading it tells


def test_a_link_to_itself_does_not_end_a_pattern():
    Path("photos/itself").symlink_to("itself")
    inputs, failures = find(["photos/*/*.png"], None)
    assert [str(each.place) for each in inputs] == ["sub/a.png"]
    assert failures == ["photos/itself: cannot be read: Too many levels of symbolic links"]


def test_a_name_that_is_too_long_is_told_and_the_rest_is_found():
    inputs, failures = find(["x" * 256 + ".png", "photos/a.png"], None)
    assert failures == [f"{'x' * 256}.png: cannot be read: File name too long"]
    assert [str(each.path) for each in inputs] == ["photos/a.png"]


def test_pipes_are_told_and_not_waited_for():
    os.mkfifo("photos/pipe.png")
    inputs, failures = find(["photos"], None)
    assert failures == ["photos/pipe.png: neither a file nor a folder"]
    assert len(inputs) == 5


def test_a_folder_that_cannot_be_read_is_told_and_the_rest_is_found(monkeypatch):
    Path("photos/secret").mkdir()
    original = Path.iterdir

    def iterdir(path):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    for argument in ("photos", "photos/**/*.png"):
        inputs, failures = find([argument], None)
        assert "photos/a.png" in {str(each.path) for each in inputs}
        assert failures == ["photos/secret: cannot be read: Permission denied"]


def test_an_argument_in_a_folder_that_may_not_be_entered_is_told(monkeypatch):
    original = Path.stat

    def stat(path, **options):
        if "secret" in path.parts:
            raise PermissionError(13, "Permission denied")
        return original(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    inputs, failures = find(["secret/a.png", "photos/a.png"], None)
    assert [str(each.path) for each in inputs] == ["photos/a.png"]
    assert failures == ["secret/a.png: cannot be read: Permission denied"]


def targets(*names, **options):
    inputs = [Input(Path("photos", name), Path(name), SIZE) for name in names]
    return [str(job.restored) for job in place(inputs, Path("out"), **options)]


def test_names_of_outputs():
    names = ["a.jpg", "sub/b.TIFF", "IMG.2024", "c.gif"]
    assert targets(*names) == ["out/a.png", "out/sub/b.png", "out/IMG.2024.png", "out/c.png"]
    assert targets("a.jpg", suffix="_r", ending=".tif") == ["out/a_r.tif"]
    assert targets(*names, ending=None) == [
        "out/a.jpg",
        "out/sub/b.tif",
        "out/IMG.2024.png",
        "out/c.png",
    ]


def test_outputs_of_one_name_keep_the_endings_of_their_inputs():
    assert targets("a.jpg", "a.png", "b.png") == ["out/a.jpg.png", "out/a.png.png", "out/b.png"]


def test_comparisons():
    inputs = [Input(Path("photos/a.jpg"), Path("a.jpg"), SIZE)]
    (job,) = place(inputs, Path("out"), compare=True, stages=True)
    assert (job.path, job.size) == (Path("photos/a.jpg"), SIZE)
    names = ["out/a.png", "out/a_compare.png", "out/a_stages.png"]
    assert [str(target) for target in job.targets] == names


def test_an_input_is_never_replaced():
    inputs = [Input(Path("photos/a.png"), Path("a.png"), SIZE)]
    with pytest.raises(UserError, match=r"photos/a\.png: is an input; choose another"):
        place(inputs, Path("photos"))
    Path("link").symlink_to("photos")
    with pytest.raises(UserError, match="is an input"):
        place(inputs, Path("link"))
    assert place(inputs, Path("photos"), suffix="_restored")


def test_an_output_is_never_replaced_by_another():
    inputs = [Input(Path(x), Path("a.png"), SIZE) for x in ("photos/a.png", "other/a.png")]
    with pytest.raises(UserError, match=r"other/a\.png: out/a\.png\.png is an output of"):
        place(inputs, Path("out"))


def test_an_input_is_not_replaced_under_another_name():
    """As on a file system to which photos and PHOTOS are one folder."""
    Path("PHOTOS").symlink_to("photos")
    inputs = [Input(Path("photos/a.png"), Path("a.png"), SIZE)]
    with pytest.raises(UserError, match=r"PHOTOS/a\.png: is an input"):
        place(inputs, Path("PHOTOS"))
    Path("photos/itself.png").symlink_to("itself.png")
    assert place(inputs, Path("out"), kept=[Path("photos/itself.png")])


def test_names_that_differ_in_case_are_two_files_unless_the_file_system_folds_them(monkeypatch):
    names = ["a.png", "A.png", "\u00e9.png", "e\u0301.png", "sub/\u00e9.jpg"]
    assert len(set(targets(*names))) == 5
    monkeypatch.setattr("dgunet_jax.restoration.inputs._folds_names", lambda folder: True)
    assert targets("a.png", "A.jpg", "b.png") == ["out/a.png.png", "out/A.jpg.png", "out/b.png"]
    for same in (names[:2], names[2:4]):
        with pytest.raises(UserError, match=r"is an output of .* too"):
            targets(*same)


def test_folding_is_noticed_by_a_folder_under_its_other_name(tmp_path, monkeypatch):
    assert not _folds_names(Path("out"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "SUB").symlink_to("sub")
    assert _folds_names(tmp_path / "sub" / "out")
    assert not _folds_names(Path("/"))
