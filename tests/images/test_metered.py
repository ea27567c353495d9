"""Headers that claim more than their files hold: time and memory stay those of the file."""

import io
import resource
import time
from pathlib import Path

import pytest

from dgunet_jax.images import ifd, metered
from dgunet_jax.images.metered import Content, MeteredFile
from dgunet_jax.images.reading import read_header
from dgunet_jax.images.stored import DamagedFile
from dgunet_jax.system.errors import UserError
from tests.fuzz.bombs import BOMBS, shared_exif

SIZE = 1 << 19
REFUSED = {
    *("PNG of empty chunks", "PNG of empty image data", "JPEG of empty segments"),
    *("JPEG of EXIF in pieces", "JPEG filled up", "JPEG with junk between segments"),
    *("GIF of short blocks", "GIF of empty extensions", "GIF of empty frames"),
    *("WebP of empty chunks", "TIFF of directories", "TIFF of previews"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_read_header_takes_time_and_memory_like_its_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metered, "_READS", 1000)
    path = tmp_path / "picture"
    path.write_bytes(BOMBS[name](SIZE))
    before, start = _peak(), time.process_time()
    try:
        read_header(path)
        message = ""
    except UserError as error:
        message = str(error)
    # A hundredth of what reading in quadratic time takes, and ten times what it should.
    assert time.process_time() - start < 15
    assert _peak() - before < 10 * path.stat().st_size + (64 << 20)
    if name in REFUSED:
        assert message == f"{path}: is damaged: it refers to more than it holds"


def _peak() -> int:
    """The most bytes this process has had in memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_metered_file_counts_what_is_read_again():
    with MeteredFile(Content(bytes(1 << 20))) as file, pytest.raises(DamagedFile):
        for _ in range(6):
            file.seek(0)
            file.read()


def test_metered_file_counts_reads_of_nothing():
    with MeteredFile(Content(b"")) as file, pytest.raises(DamagedFile):
        for _ in range(200_000):
            file.read(0)


def test_read_directory_leaves_out_what_exceeds_the_file():
    block = shared_exif(1000)
    directory = ifd.read_directory(io.BytesIO(block), 8, "<").children[ifd.EXIF]
    claimed = sum(len(entry.content) for entry in directory.entries.values())
    assert len(block) - 1000 < claimed <= len(block)
