"""Images from what known operators measured: by `Restorer.measured` and the command."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data

import dgunet_jax
from dgunet_jax import Restorer, UserError
from dgunet_jax.images import Picture, read, write
from dgunet_jax.metrics import psnr
from dgunet_jax.operators import (
    BlockSampling,
    Blur,
    Cropped,
    Downsample,
    Fourier,
    Mask,
    Radon,
    Stack,
)
from dgunet_jax.operators.library import SamplingMatrix
from tests.operators.catalogue import coils, kernel
from tests.small import network

RNG = np.random.default_rng(0)
KERNEL = kernel(RNG, 5, 4)
SIZE = (37, 31)


@functools.cache
def tiny(**choices):
    """A network of two stages that is told no operator yet, and variables."""
    given = {"degradation": "known", "last_adds": "estimate", "num_stages": 2, **choices}
    return network(width=4, growth=2, last_growth=2, **given)


def pictures(*sizes, channels=3):
    return [RNG.random((*size, channels), np.float32) for size in sizes]


CASES = {
    "circular": (lambda size: Blur(KERNEL, "circular"), [SIZE, (24, 16), (33, 40)]),
    "reflect": (lambda size: Blur(KERNEL, "reflect"), [SIZE, (24, 16)]),
    "zero": (lambda size: Blur(KERNEL), [SIZE, (24, 16)]),
    "valid": (lambda size: Blur(KERNEL, "valid"), [SIZE, (24, 16)]),
    "mask": (lambda size: Mask((RNG.random(size) < 0.5).astype(float)), [SIZE]),
    "double": (lambda size: Downsample(2, "bicubic"), [(38, 30), (24, 16)]),
    "fourier": (lambda size: Fourier((RNG.random(size) < 0.5).astype(float)), [SIZE]),
    "coils": (lambda size: Fourier(np.ones(size), coils(RNG, 2, *size)), [SIZE]),
    "blocks": (lambda size: BlockSampling.draw(0.3, 5, RNG), [(35, 30), (20, 15)]),
    "radon": (lambda size: Radon(np.linspace(0, 3, 7), size), [(13, 11)]),
    "stack": (lambda size: Stack((Blur(KERNEL), Mask(np.ones(size)))), [SIZE]),
}


@pytest.mark.parametrize("name", CASES)
def test_an_image_is_restored_in_its_own_size_whatever_is_beside_it(name):
    make, sizes = CASES[name]
    model, variables = tiny()
    operator = make(sizes[0])
    restorer = Restorer(model.clone(operator=operator), variables)
    images = pictures(*sizes)
    measured = [jax.tree.map(lambda y: y[0], operator.forward(image[None])) for image in images]
    together = [restorer.measured(y, stages=True) for y in measured]
    for image, y, found in zip(images, measured, together, strict=True):
        assert found.shape == (2, *image.shape) and found.dtype == np.float32
        alone = Restorer(model, variables).measured(y, operator, stages=True)
        np.testing.assert_allclose(alone, found, rtol=0, atol=1e-5)
    height, width = sizes[0]
    whole = -(-height // 8) * 8, -(-width // 8) * 8
    network = model.clone(operator=Cropped(operator, sizes[0], whole))
    batch = jax.tree.map(lambda leaf: leaf[None], measured[0])
    expected = jax.jit(network.apply)(variables, batch).stages[:, 0, :height, :width]
    np.testing.assert_allclose(together[0], expected, rtol=0, atol=1e-5)


def test_cropped_measures_the_part_and_is_its_adjoint():
    operator = Cropped(Blur(KERNEL, "circular"), SIZE, (40, 32))
    x, r = (np.stack(pictures(size, size)) for size in ((40, 32), SIZE))
    np.testing.assert_allclose(
        operator.forward(x), operator.operator.forward(x[:, :37, :31]), rtol=0, atol=1e-6
    )
    left, right = np.vdot(operator.forward(x), r), np.vdot(x, operator.adjoint(r))
    assert left == pytest.approx(right, rel=1e-5)
    assert operator.image_shape(r) == x.shape
    assert operator.squared_norm() == operator.operator.squared_norm()


def test_a_circular_blur_of_an_odd_size_has_its_own_border():
    # A shared array, with zeros or a reflection beyond the image, would give another gradient step.
    operator = Blur(KERNEL, "circular")
    model, variables = tiny(start_steps=60)
    (image,) = pictures(SIZE)
    image = 0.5 + 0.1 * image
    y = operator.forward(image[None])[0]
    begun = model.clone(operator=Cropped(operator, SIZE, (40, 32))).apply(
        variables, y[None], method="start"
    )[0]
    np.testing.assert_allclose(operator.forward(begun[:, :37, :31])[0], y, rtol=0, atol=1e-3)


def test_the_network_is_told_the_noise():
    model, variables = tiny(noise_input=True)
    operator = Mask(np.ones(SIZE))
    (y,) = pictures(SIZE)
    restorer = Restorer(model, variables, noise=0.1)
    low, high = (restorer.measured(y, operator, noise=noise) for noise in (0.0, 0.1))
    assert np.abs(low - high).max() > 1e-4
    np.testing.assert_array_equal(restorer.measured(y, operator), high)
    with pytest.raises(UserError, match="must be told the noise"):
        Restorer(model, variables).measured(y, operator)
    with pytest.raises(UserError, match="is told no noise"):
        Restorer(*tiny(), noise=0.1).measured(y, operator)


def test_noise_is_constant_within_images_and_nothing_beyond_them():
    model, variables = network(noise_input=True, degradation="identity")
    images = np.stack(pictures((16, 24), (16, 24)))
    run = jax.jit(model.apply)
    whole = run(variables, images, noise=jnp.asarray([0.1, 0.2])).image
    for i, noise in enumerate((0.1, 0.2)):
        alone = run(variables, images[i : i + 1], noise=noise).image
        np.testing.assert_allclose(whole[i], alone[0], rtol=0, atol=1e-6)
    wide = np.pad(images, ((0, 0), (0, 8), (0, 8), (0, 0)))
    sizes = jnp.asarray([[16, 24], [16, 24]])
    inside = run(variables, wide, sizes, noise=jnp.asarray([0.1, 0.2])).image[:, :16, :24]
    np.testing.assert_allclose(inside, whole, rtol=0, atol=1e-6)


def test_compressive_sensing_restores_measurements_alone():
    model, variables = network(
        num_stages=2,
        channels=1,
        degradation="known",
        measurements=11,
        last_adds="estimate",
        memory="additive",
    )
    (image,) = pictures((64, 32), channels=1)
    matrix = SamplingMatrix(variables["params"]["sampling_matrix"])
    restorer = Restorer(model, variables)
    found = restorer.measured(matrix.forward(image[None])[0])
    np.testing.assert_allclose(found, restorer(image), rtol=0, atol=1e-5)
    with pytest.raises(UserError):
        restorer.measured(image)


@pytest.mark.parametrize(
    ("y", "operator", "message"),
    [
        (np.ones((8, 8, 3)), None, "needs the operator"),
        (np.full((8, 8, 3), np.nan), Mask(np.ones((8, 8))), "has 192 values that are not finite"),
        (np.ones((8, 9, 3)), Mask(np.ones((8, 8))), "Mask gives no measurement"),
        (np.ones((8, 8, 2)), Mask(np.ones((8, 8))), r"must be \(N, H, W, 3\)"),
    ],
)
def test_what_is_no_measurement_is_refused(y, operator, message):
    with pytest.raises(UserError, match=message):
        Restorer(*tiny()).measured(y, operator)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """In an empty folder, with a network that is told operator and noise."""
    monkeypatch.chdir(tmp_path)
    dgunet_jax.save("any.safetensors", *tiny(noise_input=True, start_steps=2))
    return "any.safetensors"


@pytest.fixture
def run(capsys, checkpoint):
    """Runs `dgunet restore` with the network; returns the status and what it reported."""

    def run(*words, output="out"):
        from dgunet_jax.cli import main

        given = ["restore", "--no-cache", "--checkpoint", checkpoint]
        given += [] if output is None else ["--output", output]
        status = main([*given, *map(str, words)])
        return status, capsys.readouterr().err

    return run


CAT = data.chelsea()[100:137, 100:131]


def of_kind(kind, value, *, picture=CAT, name="cat.png"):
    write(name, Picture(picture))
    return ["--operator", f"{kind}:{value}", name]


def test_a_photograph_is_deblurred_where_its_frame_is(run, checkpoint):
    wide = np.zeros((5, 7), np.uint8)
    wide[2] = 200
    write("kernel.png", Picture(wide[..., None]))
    assert run(*of_kind("blur", "kernel.png"), "--sigma", 3)[0] == 0
    restorer = Restorer(*dgunet_jax.load(checkpoint), noise=3 / 255)
    image = restorer.measured(np.float32(CAT) / 255, Blur(wide / wide.sum(), "valid"))
    assert image.shape == (41, 37, 3)
    expected = Picture(CAT).with_colours(image[2:39, 3:34]).pixels
    np.testing.assert_array_equal(read("out/cat.png").pixels, expected)


def test_results_lie_beside_their_inputs_unless_told(run, tmp_path):
    folder = tmp_path / "album"
    write(folder / "cat.png", Picture(CAT))
    assert run("--operator", "downsample:2", "album/cat.png", output=None)[0] == 0
    assert {path.name for path in folder.iterdir()} == {"cat.png", "cat_restored.png"}


def test_pictures_have_masks_of_their_own(run):
    for name in ("a", "b"):
        write(f"{name}_mask.png", Picture((RNG.random(SIZE) < 0.5).astype(np.uint8)[..., None]))
        write(f"{name}.png", Picture(CAT))
    assert run("--operator", "mask:{}_mask.png", "a.png", "b.png", "--stages")[0] == 0
    assert (read("out/a.png").pixels != read("out/b.png").pixels).any()
    assert read("out/a_stages.png").pixels.shape == (37, 2 * 31 + 8, 3)


def test_results_may_be_larger_and_of_other_channels(run):
    assert run(*of_kind("downsample", 2))[0] == 0
    assert read("out/cat.png").pixels.shape == (74, 62, 3)
    assert run(*of_kind("downsample", 2, picture=CAT[..., :1], name="grey.png"))[0] == 0
    assert read("out/grey.png").pixels.shape == (74, 62, 1)
    assert run(*of_kind("bayer", "GRBG", picture=CAT[..., :1], name="mosaic.png"))[0] == 0
    assert read("out/mosaic.png").pixels.shape == (37, 31, 3)


def test_measurements_alone_become_pictures(run):
    mask = (RNG.random(SIZE) < 0.5).astype(np.float32)
    np.save("mask.npy", mask)
    spectrum = np.fft.fft2(CAT[..., 0] / 255.0, norm="ortho") * mask
    np.savez("scan.npz", y=spectrum, other=1)
    np.save("colours.npy", np.stack([spectrum] * 2 + [spectrum / 2], axis=-1))
    assert run("--operator", "fourier:mask.npy", "scan.npz", "colours.npy")[0] == 0
    assert read("out/scan.png").pixels.shape == (37, 31, 1)
    assert read("out/scan.png").bits == 16
    assert read("out/colours.png").pixels.shape == (37, 31, 3)
    matrix = BlockSampling.draw(0.25, 8, RNG)
    np.save("matrix.npy", matrix.matrix)
    np.save("sampled.npy", matrix.forward(np.float32(CAT[None, :32, :24]) / 255)[0])
    assert run("--operator", "sampling:matrix.npy", "sampled.npy", "--format", "jpeg")[0] == 0
    assert read("out/sampled.jpg").pixels.shape == (32, 24, 3)


def test_an_operator_of_ones_own(run, tmp_path):
    (tmp_path / "half_dark.py").write_text(
        "from dgunet_jax.operators import Identity\n"
        "def make(y):\n    return 0.5 * Identity()\n"
        "def wrong(y):\n    return y\n"
    )
    assert run(*of_kind("half_dark", "make"))[0] == 0
    assert read("out/cat.png").pixels.shape == CAT.shape
    status, told = run(*of_kind("half_dark", "wrong"))
    assert status == 2 and "half_dark:wrong: gives a ndarray; it must give an operator" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--operator", "blur", "cat.png"], "--operator blur: must be blur:KERNEL, mask:MASK"),
        (["--operator", "fog:3", "cat.png"], "--operator fog:3: fog:3: No module named 'fog'"),
        (["--operator", "downsample:x", "cat.png"], "the factor must be a whole number from 1"),
        (["--operator", "blur:none.npy", "cat.png"], "none.npy: cannot be read: No such file"),
        (["--operator", "blur:cube.npy", "cat.png"], "(2, 2, 2); it must be real (H, W)"),
        (["--operator", "mask:small.npy", "cat.png"], "cat.png: Mask gives no measurement"),
        (["--operator", "bayer:RGBG", "cat.png"], "--operator bayer:RGBG: pattern is 'RGBG'"),
        (["--operator", "downsample:2", "cat.png", "--sigma", "-1"], "--sigma -1: must be from 0"),
        (["--operator", "downsample:2", "cat.png", "--compare"], "--compare: is not for --operat"),
        (["cat.png"], "any.safetensors: needs --operator, which says what degrades the pictures"),
        (["small.npy"], "small.npy: is a measurement; say what measured it by --operator"),
    ],
)
def test_mistakes_are_named_in_one_line(run, words, message):
    write("cat.png", Picture(CAT))
    np.save("cube.npy", np.ones((2, 2, 2)))
    np.save("small.npy", np.ones((2, 2)))
    status, told = run(*words)
    assert status == 2
    line = next(line for line in told.splitlines() if line.startswith("error: "))
    assert message in line
    assert "Traceback" not in told


def test_what_fails_leaves_the_rest(run):
    write("cat.png", Picture(CAT))
    np.save("bad.npy", np.full((4, 4, 3), np.inf))
    status, told = run("--operator", "downsample:2", "bad.npy", "cat.png")
    assert status == 2
    assert "bad.npy: has 48 values that are not finite" in told
    assert read("out/cat.png").pixels.shape == (74, 62, 3)


def test_the_installed_network_fills_a_photograph_without_a_checkpoint(
    tmp_path, monkeypatch, capsys
):
    from dgunet_jax.cli import main

    monkeypatch.chdir(tmp_path)
    clean = data.chelsea()[100:164, 100:164]
    kept = np.random.default_rng(0).random((64, 64, 1)) < 0.5
    write("mask.png", Picture((255 * kept).astype(np.uint8)))
    write("cat.png", Picture(clean * kept))
    assert main(["restore", "--no-cache", "--operator", "mask:mask.png", "cat.png"]) == 0
    restored = read("cat_restored.png").pixels
    assert psnr(restored / 255, clean / 255) > 26 > 15 > psnr(clean * kept / 255, clean / 255)


def test_a_file_comes_before_the_installed_network_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    installed, _ = dgunet_jax.load("any_operator")
    assert installed.config.takes_operator and installed.config.noise_input
    dgunet_jax.save("any_operator", *tiny())
    own, _ = dgunet_jax.load("any_operator")
    assert own.config.width != installed.config.width
    with pytest.raises(UserError, match="there is no such file"):
        dgunet_jax.load("other/any_operator")
