"""What is known of picture files before they are restored."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from skimage import data

from dgunet_jax import Restorer, images
from dgunet_jax.restoration import pipeline
from dgunet_jax.restoration.inputs import Found, Input, place
from dgunet_jax.restoration.pipeline import ahead, restore_files, sort_out, turns
from dgunet_jax.restoration.plan import Planner
from tests.small import network

CAT = data.chelsea()[100:137, 100:131]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def saved(name: str, orientation: int = 1) -> Found:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(CAT).save(name, exif=exif)
    return Found(Path(name), Path(name), meant=True)


def test_pictures_come_with_the_sizes_they_will_have_upright():
    upright, turned = saved("upright.png"), saved("turned.jpg", orientation=6)
    Path("words.png").write_text("words")
    Path("notes.txt").write_text("words")
    words = Found(Path("words.png"), Path("words.png"), meant=True)
    notes = Found(Path("notes.txt"), Path("notes.txt"), meant=False)
    good, failures, others = sort_out([upright, words, turned, notes])
    assert good == [
        Input(upright.path, upright.place, (37, 31)),
        Input(turned.path, turned.place, (31, 37)),
    ]
    (failure,) = failures
    assert failure.startswith("words.png: ")
    assert others == ["notes.txt"]


def test_no_header_is_read_twice_and_no_picture_planned_twice(monkeypatch: pytest.MonkeyPatch):
    headers, plans = [], []

    def read_header(path):
        headers.append(path)
        return images.read_header(path)

    def plan(self, size, *more, **named):
        plans.append(size)
        return unwatched(self, size, *more, **named)

    unwatched = Planner.plan
    monkeypatch.setattr(pipeline, "read_header", read_header)
    monkeypatch.setattr(Planner, "plan", plan)
    found = [saved("a.png"), saved("b.png"), saved("c.png", orientation=8)]
    jobs = place(sort_out(found)[0], Path("out"))
    assert restore_files(Restorer(*network(num_stages=2)), jobs).restored == 3
    assert sorted(headers) == [each.path for each in found]
    assert sorted(plans) == [(31, 37), (37, 31)]


def test_turns_keep_pictures_in_memory_within_the_room():
    restorer = Restorer(*network(num_stages=2), tile=64, memory=30_000_000)
    sizes = [(64, 64)] * 30 + [(500, 500)] * 3 + [(64, 64)] * 30
    items = [SimpleNamespace(size=size) for size in sizes]
    schedule = restorer.schedule(sizes)
    found = list(turns(restorer, schedule, items))
    assert [item for turn in found for item in turn] == items
    assert [len(turn) for turn in found] == [30, 1, 1, 1, 30]
    unlimited = Restorer(*network(num_stages=2), tile=64, memory=10**12)
    assert len(list(turns(unlimited, unlimited.schedule(sizes), items))) == 1


def test_turns_of_one_picture_each_restore_them_all():
    found = [saved("a.png"), saved("b.png"), saved("c.png")]
    jobs = place(sort_out(found)[0], Path("out"))
    restorer = Restorer(*network(num_stages=2), memory=1_800_000)
    schedule = restorer.schedule(job.size for job in jobs)
    assert len(list(turns(restorer, schedule, jobs))) == 3
    assert restore_files(restorer, jobs).restored == 3


def test_sort_out_names_pictures_that_are_not_read_and_folders_without_any():
    Path("photo").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Path("broken.cr2").write_text("words")
    Path("notes.txt").write_text("words")
    names = ("photo", "broken.cr2", "notes.txt")
    photo, broken, notes = (Found(Path(name), Path(name), meant=False) for name in names)
    _, failures, others = sort_out([photo, broken, notes])
    assert [line.partition(": ")[0] for line in failures] == ["photo", "broken.cr2"]
    assert others == ["notes.txt"]
    _, failures, others = sort_out([notes])
    assert failures == [
        "none of the files found is a picture (AVIF, BMP, GIF, HEIC, JPEG, JPEG 2000, JPEG XL, "
        "PNG, PNM, TIFF, WebP are read)"
    ]


def test_ahead_gives_what_the_system_refuses_as_the_result():
    def refused(item: int) -> int:
        if item == 1:
            raise PermissionError(13, "Permission denied", "b.png")
        return item

    outcomes = [outcome for _, outcome in ahead(refused, range(3))]
    assert outcomes[0] == 0 and outcomes[2] == 2
    assert str(outcomes[1]) == "b.png: Permission denied"
