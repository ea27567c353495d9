"""What tests of reading require of every picture and of every refusal."""

from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.images import Picture, read, read_header
from dgunet_jax.system.errors import UserError


def check(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    """Read a file, which must give exactly these pixels and be announced by its header."""
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, pixels, strict=True)
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, alpha, strict=True)
        assert picture.alpha.flags.writeable
    assert picture.pixels.flags.writeable
    header = read_header(path)
    assert (header.height, header.width, header.channels) == pixels.shape
    assert header.bits == picture.bits == 8 * pixels.dtype.itemsize
    assert header.has_alpha == (alpha is not None)
    assert header.format == picture.file_format
    return picture


def refusal(path: Path, by_header: bool = True) -> str:
    """Return the line with which reading is refused, without the file's name in front.

    Args:
      path: the file.
      by_header: whether the header alone must be refused too, with the same line.
    """
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    if by_header:
        with pytest.raises(UserError) as caught:
            read_header(path)
        assert str(caught.value) == message
    return message.removeprefix(f"{path}: ")


def check_truncations(path: Path, step: int = 97) -> None:
    """Cut a file off at many places, where it must be refused each time."""
    content = path.read_bytes()
    for length in (*range(12, min(60, len(content)), 5), *range(60, len(content), step)):
        path.write_bytes(content[:length])
        refusal(path, by_header=False)
