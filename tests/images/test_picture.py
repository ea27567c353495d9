"""Pictures: colours out, colours in, and rounding."""

import numpy as np
import pytest

from dgunet_jax.images import Picture, captioned, side_by_side, to_uint8
from dgunet_jax.system.errors import UserError
from tests.images.encodings import deep, photograph

GREY, RGB = photograph()[..., 1:2], photograph()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_with_colours_inverts_colours(dtype: type):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1, 1)
    for pixels in (values, np.concatenate([values, values[::-1], values[:, ::-1]], axis=2)):
        picture = Picture(pixels)
        colours = picture.colours()
        assert colours.dtype == np.float32
        assert colours.min() == 0
        assert colours.max() == 1
        again = picture.with_colours(colours)
        np.testing.assert_array_equal(again.pixels, pixels, strict=True)


def test_colours_repeats_grey_and_with_colours_averages_it():
    picture = Picture(GREY)
    colours = picture.colours()
    np.testing.assert_array_equal(colours, np.repeat(GREY / np.float32(255), 3, axis=2))
    other = colours.copy()
    other[..., 0] += 0.3
    expected = np.rint(np.clip(other.astype(np.float64).mean(axis=2), 0, 1) * 255)
    np.testing.assert_array_equal(picture.with_colours(other).pixels[..., 0], expected)


def test_with_colours_keeps_all_but_the_pixels():
    picture = Picture(RGB, RGB[..., 0], b"profile", b"exif", b"xmp", "WebP")
    again = picture.with_colours(np.zeros(RGB.shape, np.float32))
    assert not again.pixels.any()
    assert again.alpha is picture.alpha
    assert (again.icc_profile, again.exif, again.xmp) == (b"profile", b"exif", b"xmp")
    assert again.file_format == "WebP"
    np.testing.assert_array_equal(picture.pixels, photograph())


@pytest.mark.parametrize(("pixels", "peak"), [(RGB, 255), (deep(RGB), 65535)])
def test_with_colours_clamps_and_rounds_ties_to_even(pixels: np.ndarray, peak: int):
    levels = np.array([-300, -0.2, 0.5, 1.5, 2.5, 126.5, peak - 0.5, peak - 0.3, peak + 99])
    picture = Picture(pixels[:1, :3])
    expected = [0, 0, 0, 2, 2, 126, peak - 1, peak, peak]
    found = picture.with_colours((levels / peak).reshape(1, 3, 3)).pixels.ravel()
    exact = levels / peak * peak == levels
    assert exact.sum() >= 5
    np.testing.assert_array_equal(found[exact], np.array(expected)[exact])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_with_colours_refuses_what_is_not_finite(bad: float):
    colours = np.zeros(RGB.shape, np.float32)
    colours[3, 4, 1] = bad
    for pixels in (GREY, RGB):
        with pytest.raises(UserError, match="has 1 values that are NaN or infinite"):
            Picture(pixels).with_colours(colours)


@pytest.mark.parametrize("shape", [(37, 31), (37, 31, 1), (31, 37, 3), (1, 37, 31, 3)], ids=str)
def test_with_colours_refuses_another_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"colours must be \(37, 31, 3\); got \("):
        Picture(GREY).with_colours(np.zeros(shape))


def test_with_colours_refuses_integers():
    with pytest.raises(UserError, match="got uint8"):
        Picture(RGB).with_colours(RGB)


@pytest.mark.parametrize(
    "pixels", [RGB / 255, RGB[..., 0], RGB[..., :2], RGB[:0], RGB.astype(int)], ids=str
)
def test_picture_refuses_other_arrays(pixels: np.ndarray):
    with pytest.raises(ValueError, match=r"^a picture (is uint8 or uint16|has pixels)"):
        Picture(pixels)


@pytest.mark.parametrize("alpha", [RGB, RGB[:5, :, 0], deep(RGB)[..., 0]])
def test_picture_refuses_alpha_that_does_not_fit(alpha: np.ndarray):
    with pytest.raises(ValueError, match=r"the alpha of a uint8 \(37, 31, 3\) picture is"):
        Picture(RGB, alpha)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_to_uint8_keeps_every_8_bit_value(dtype: type):
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8((values / 255).astype(dtype)), values)


def test_to_uint8_clamps_and_rounds_ties_to_even():
    levels = np.array([-300, -0.2, 0.5, 1.5, 2.5, 126.5, 127.5, 254.5, 255.4, 999])
    expected = [0, 0, 0, 2, 2, 126, 128, 254, 255, 255]
    image = levels / 255
    exact = image * 255 == levels
    assert exact[[2, 3, 4, 6]].all()
    np.testing.assert_array_equal(to_uint8(image), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_to_uint8_refuses_what_is_not_finite(bad: float):
    image = np.zeros((37, 31, 3), np.float32)
    image[3, 4, 1] = bad
    with pytest.raises(UserError, match="has 1 values that are NaN or infinite"):
        to_uint8(image)


def test_to_uint8_refuses_integers():
    with pytest.raises(UserError, match="got uint8"):
        to_uint8(RGB)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gap", [0, 3])
def test_side_by_side_puts_white_between_images(channels: int, gap: int):
    widths = (31, 5, 1)
    rng = np.random.default_rng(0)
    images = [rng.random((37, width, channels), np.float32) / 2 for width in widths]
    strip = side_by_side(iter(images), gap)
    assert strip.dtype == np.float32
    assert strip.shape == (37, sum(widths) + 2 * gap, channels)
    left = 0
    for image in images:
        right = left + image.shape[1]
        np.testing.assert_array_equal(strip[:, left:right], image)
        np.testing.assert_array_equal(strip[:, right : right + gap], 1)
        left = right + gap


def test_side_by_side_leaves_one_image_as_it_is():
    image = np.zeros((2, 3, 1), np.float32)
    np.testing.assert_array_equal(side_by_side([image], 8), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_above_the_image(dtype, channels):
    image = np.full((30, 200, channels), 7, dtype)
    below = captioned(image, "input")
    assert below.dtype == dtype and below.shape == (50, 200, channels)
    np.testing.assert_array_equal(below[20:], image)
    peak = np.iinfo(dtype).max
    assert below[:20, :60].min() < peak // 8
    assert (below[:20, 100:] == peak).all()
    assert not np.array_equal(below, captioned(image, "x1"))
    assert captioned(image[:, :3], "restored").shape == (50, 3, channels)
