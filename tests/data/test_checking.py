"""Bad pictures are found before the first step, and a run keeps the pictures it began with."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from dgunet_jax.data import checking
from dgunet_jax.data.pipeline import training_batches
from dgunet_jax.data.sources import Decoder, open_source
from dgunet_jax.system.errors import UserError
from tests.data.arrays import NOISY, PAIRED, assert_same, save, take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures 0.png to 5.png."""
    for i in range(6):
        save(tmp_path / f"data/{i}.png", seed=i)
    (tmp_path / "run").mkdir()
    return tmp_path / "data"


def damage(path: Path) -> None:
    """Flip a bit that only decoding finds."""
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 30] ^= 1
    path.write_bytes(content)


def choose(folder: Path, *, begun: bool = False, said: list[str] | None = None, **settings):
    config = dataclasses.replace(PAIRED if settings.pop("pairs", False) else NOISY, **settings)
    source = open_source(str(folder), pairs=config.degradation is None, cache_bytes=0, strict=False)
    say = (said if said is not None else []).append
    run = folder.parent / "run"
    return checking.choose(source, config, run, begun=begun, write=True, say=say)


def refused(folder: Path, match: str, **settings) -> str:
    with pytest.raises(UserError, match=match) as caught:
        choose(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(source) -> list[str]:
    return [source.name(i) for i in range(len(source))]


def test_every_bad_picture_is_named_at_once(folder: Path):
    damage(folder / "1.png")
    (folder / "3.png").write_text("words")
    message = refused(folder, r"training pictures that cannot be used \(2\): ")
    assert "1.png: is damaged: the checksum of its IDAT chunk is wrong" in message
    assert "3.png: not a picture" in message
    assert "let data.skip_bad=2 leave them out" in message
    for i in range(20):
        (folder / f"x{i:02}.png").write_text("words")
    assert "and 12 more" in refused(folder, r"\(22\)")


def test_pairs_are_checked(tmp_path: Path):
    (tmp_path / "run").mkdir()
    for i in range(4):
        for kind in ("input", "target"):
            save(tmp_path / f"data/{kind}/{i}.png", seed=i)
    damage(tmp_path / "data/target/1.png")
    save(tmp_path / "data/input/2.png", height=20)
    folder = tmp_path / "data"
    message = refused(folder, r"cannot be used \(2\): ", pairs=True)
    assert "target/1.png: is damaged" in message
    assert "the pictures of a pair must have one size" in message
    assert names(choose(folder, pairs=True, skip_bad=2)) == ["0", "3"]


def test_as_many_as_may_be_bad_are_left_out_and_told(folder: Path):
    damage(folder / "1.png")
    said: list[str] = []
    assert names(choose(folder, skip_bad=1, said=said)) == ["0", "2", "3", "4", "5"]
    assert said[0] == "checking 6 training pictures …"
    assert said[1].startswith("left out of training (1 of at most 1): ")
    assert "1.png: is damaged" in said[1]
    damage(folder / "2.png")
    refused(folder, "data.skip_bad=2 leave them out", skip_bad=1)


def test_without_a_check_nothing_is_decoded(folder: Path):
    damage(folder / "1.png")
    assert len(choose(folder, check=False)) == 6


def test_what_was_found_good_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    decoded = []
    original = Decoder.read

    def read(decoder, path, size):
        decoded.append(path.name)
        return original(decoder, path, size)

    monkeypatch.setattr(Decoder, "read", read)
    damage(folder / "1.png")
    refused(folder, "1.png")
    assert sorted(decoded) == [f"{i}.png" for i in range(6)]
    decoded.clear()
    save(folder / "1.png", seed=1)
    os.utime(folder / "2.png", ns=(1, 1))
    choose(folder)
    assert sorted(decoded) == ["1.png", "2.png"]
    decoded.clear()
    choose(folder, begun=True)
    assert not decoded


def test_a_run_goes_on_with_the_same_batches(folder: Path):
    """Whether bad pictures were left out, have been taken away, or new ones have come."""
    damage(folder / "1.png")
    before = take(training_batches(choose(folder, skip_bad=1), NOISY), 6)
    (folder / "1.png").unlink()
    said: list[str] = []
    save(folder / "00.png", seed=9)
    after = choose(folder, begun=True, said=said)
    assert names(after) == ["0", "2", "3", "4", "5"]
    assert said[-1] == "not used, since the run began without them (1): 00.png"
    assert_same(take(training_batches(after, NOISY, start_step=2), 4), before[2:])


def test_a_picture_that_is_taken_away_is_told_with_how_to_go_on(folder: Path):
    choose(folder)
    (folder / "2.png").rename(folder / "7.png")
    message = refused(folder, "its run began with other training pictures", begun=True)
    assert "missing are (1): 2.png; new are (1): 7.png" in message
    assert "let data.skip_bad=1 go on without them" in message
    assert "init_from" in message
    choose(folder)  # a run that has no checkpoint begins anew


def test_another_stands_for_a_picture_that_is_missing_or_has_become_bad(folder: Path):
    whole = choose(folder)
    before = [whole.read(i)[0].tolist() for i in range(6)]
    (folder / "2.png").unlink()
    damage(folder / "5.png")
    refused(folder, r"\(2\): .*5.png: is damaged.*, 2.png: missing", begun=True, skip_bad=1)
    said: list[str] = []
    after = choose(folder, begun=True, skip_bad=2, said=said)
    assert names(after) == ["0", "1", "3", "3", "4", "0"]
    assert "(2 of at most 2)" in said[-1]
    for i in (0, 1, 3, 4):
        assert after.read(i)[0].tolist() == before[i]


def test_folders_may_move(folder: Path):
    choose(folder)
    other = folder.rename(folder.with_name("moved"))
    assert names(choose(other, begun=True)) == [f"{i}" for i in range(6)]


def test_a_run_of_which_nothing_is_recorded_goes_on(folder: Path):
    assert len(choose(folder, begun=True)) == 6
    assert json.loads((folder.parent / "run" / checking.FILE).read_text())["pictures"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pictures": [1], "checked": []}'])
def test_a_damaged_record_is_told(folder: Path, content: bytes):
    (folder.parent / "run" / checking.FILE).write_bytes(content)
    refused(folder, r"pictures\.json: is damaged: .*remove it", begun=True)


def test_nothing_left_is_told(folder: Path):
    for path in folder.iterdir():
        damage(path)
    refused(folder, "none of the training pictures can be used", skip_bad=6)
