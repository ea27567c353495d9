"""What is known of picture files before they are restored."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from dgunet_jax import Restorer
from dgunet_jax.images import reading
from dgunet_jax.restoration import files
from dgunet_jax.restoration.files import restore_files, sort_out
from dgunet_jax.restoration.inputs import Found, Input, place
from dgunet_jax.restoration.planner import Planner
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
        return reading.read_header(path)

    def plan(self, size, buckets=()):
        plans.append(size)
        return unwatched(self, size, buckets)

    unwatched = Planner.plan
    monkeypatch.setattr(files, "read_header", read_header)
    monkeypatch.setattr(Planner, "plan", plan)
    found = [saved("a.png"), saved("b.png"), saved("c.png", orientation=8)]
    jobs = place(sort_out(found)[0], Path("out"))
    assert restore_files(Restorer(*network(num_stages=2)), jobs).restored == 3
    assert sorted(headers) == [each.path for each in found]
    assert sorted(plans) == [(31, 37), (37, 31)]
