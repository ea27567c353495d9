import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from skimage import data

from dgunet_jax import Restorer, UserError, restore
from dgunet_jax.data.transforms import dihedral, undo_dihedral
from dgunet_jax.operators import Cropped
from dgunet_jax.restoration.plan import Schedule, TooLarge
from dgunet_jax.restoration.running import apply
from tests import choices
from tests.restoration.alone import Alone, pad
from tests.small import network

SIZES = [(77, 101), (37, 31), (1, 1), (8, 8), (3, 40), (40, 3), (16, 9)]


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def alone(net):
    return Alone(*net)


def noise(*sizes, channels=3):
    rng = np.random.default_rng(0)
    return [rng.random((*size, channels), np.float32) for size in sizes]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_what_padding_applying_and_cropping_gives(net, alone, size):
    (image,) = noise(size)
    restorer = Restorer(*net)
    restored = restorer(image)
    assert restored.shape == image.shape
    assert restored.dtype == np.float32
    close(restored, alone(image)[-1])


def test_all_stages(net, alone):
    (image,) = noise((37, 31))
    close(Restorer(*net).stages(image), alone(image))


@pytest.mark.parametrize("batch", [1, 3])
def test_pictures_in_shared_shapes_are_as_alone(net, alone, batch):
    images = noise(*SIZES, (40, 80), (79, 104))
    restorer = Restorer(*net, batch=batch)
    # Two shapes, so that most pictures are smaller than theirs and upright ones meet lying ones.
    schedule = Schedule({(40, 32): batch, (104, 80): batch}, 0.0)
    before = apply._cache_size()
    restored = dict(restorer.each(enumerate(images), schedule))
    assert apply._cache_size() - before <= 2
    assert sorted(restored) == list(range(len(images)))
    for i, image in enumerate(images):
        close(restored[i][0], alone(image)[-1])


def test_what_is_compiled_is_told_once(net):
    images = noise((40, 32), (32, 40), (33, 31))
    announced = []
    restorer = Restorer(*net)
    schedule = restorer.schedule(image.shape[:2] for image in images)
    results = restorer.each(enumerate(images), schedule, announce=announced.append)
    assert sorted(key for key, _ in results) == [0, 1, 2]
    assert announced == ["compiling for arrays of 1×40×32 …"]


@pytest.mark.parametrize("name", ["plus", "tied", "known", "sensing"])
def test_lying_pictures_of_every_kind_of_network(name):
    model, variables = choices.make(name)
    (image,) = noise((24, 64), channels=model.config.channels)
    # Zeros, up to a multiple of 32, for compressive sensing.
    padded = np.pad(image, ((0, -24 % model.config.multiple), (0, 0), (0, 0)))
    expected = choices.run(model, variables, padded[None])[:, 0, :24]
    close(Restorer(model, variables).stages(image), expected)


@pytest.mark.parametrize("size, batch", [((30, 37), 1), ((7, 8), 4)])
def test_the_self_ensemble_is_the_mean_over_eight_versions(net, alone, size, batch):
    (image,) = noise(size)
    versions = [undo_dihedral(alone(dihedral(pad(image), k)), k) for k in range(8)]
    expected = np.stack(versions).mean(axis=0)[:, : size[0], : size[1]]
    restorer = Restorer(*net, self_ensemble=True, batch=batch)
    before = apply._cache_size()
    close(restorer(image), expected[-1])
    assert apply._cache_size() - before <= 1
    assert np.abs(expected - alone(image)).max() > 1e-4


def with_operator(operator):
    model, variables = choices.make("known")
    return model.clone(operator=operator), variables


def test_the_self_ensemble_of_a_network_that_cannot_lie():
    model, variables = with_operator(choices.Cross(jnp.asarray(0.3)))
    (image,) = noise((16, 40))
    versions = [
        undo_dihedral(choices.run(model, variables, dihedral(image, k)[None])[:, 0], k)
        for k in range(8)
    ]
    restored = Restorer(model, variables, self_ensemble=True)(image)
    close(restored, np.stack(versions).mean(axis=0)[-1])


def test_restorer_restores_images_of_operators_that_do_not_extend_by_zeros_one_by_one():
    operator = choices.Cross(jnp.asarray(0.8), circular=True)
    model, variables = with_operator(operator)
    images = noise((16, 24), (24, 16), (13, 21), (40, 40))
    restorer = Restorer(model, variables, batch=2)
    schedule = restorer.schedule(image.shape[:2] for image in images)
    restored = dict(restorer.each(enumerate(images), schedule, stages=True))
    for i, image in enumerate(images):
        # The border is that of the image, not that of the array which the network needs.
        size, whole = image.shape[:2], pad(image).shape[:2]
        alone = model if size == whole else model.clone(operator=Cropped(operator, size, whole))
        expected = choices.run(alone, variables, image[None])[:, 0, : size[0], : size[1]]
        close(restored[i], expected)
        close(restorer.stages(image), expected)
        close(restorer(image), expected[-1])


@dataclasses.dataclass(frozen=True)
class Mean:
    """Claims to be local, and is not."""

    zero_extends: bool = True

    def forward(self, x):
        return x + x.mean(axis=(1, 2), keepdims=True)

    def adjoint(self, r, at):
        return self.forward(r)

    def start(self, y):
        return y


@pytest.mark.parametrize(
    ("operator", "choice", "message"),
    [
        (Mean(), {}, "says zero_extends = True, but Φ of an image changes by 0"),
        (choices.Smear(jnp.asarray(0.3)), {"self_ensemble": True}, "commutes with flips and rot"),
        (Mean(False), {"self_ensemble": True}, "self_ensemble needs an operator with zero_extends"),
        (Mean(False), {"mesh": "height"}, "mesh needs an operator with zero_extends"),
        (Mean(False), {"tile": 64}, "tile needs an operator with zero_extends"),
    ],
)
def test_restorer_refuses_what_an_operator_would_make_wrong(operator, choice, message):
    if "mesh" in choice:
        choice = {"mesh": jax.make_mesh((1,), ("height",), axis_types=(AxisType.Auto,))}
    with pytest.raises(UserError, match=message):
        Restorer(*with_operator(operator), **choice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: 255 * x,
            r"values from 0\.\d+ to 25\d.*; they must lie in \[0, 1\]; divide",
        ),
        (lambda x: 65535 * x, "values from .* to 6.*; they must lie in"),
        (lambda x: 6 * x - 3, "values from -.* to .*; they must lie in"),
        (
            lambda x: np.where(x > 0.99, np.nan, x),
            "nan at row",
        ),
        (lambda x: np.where(x > 0.999, np.inf, x), "inf at row"),
    ],
)
def test_restorer_names_values_that_are_not_of_an_image(net, change, message):
    (image,) = noise((37, 31))
    bad = change(image).astype(np.float32)
    restorer = Restorer(*net)
    with pytest.raises(UserError, match=message):
        restorer(bad)
    with pytest.raises(UserError, match=message):
        list(restorer.each([("bad", bad)], restorer.schedule([(37, 31)])))
    with pytest.raises(UserError, match=message):
        restore(net[0], net[1], [image, bad])


def test_restorer_warns_of_images_in_another_range(net, alone):
    (image,) = noise((37, 31))
    scaled = 2 * image - 1
    with pytest.warns(UserWarning, match=r"values from -\S+ to \S+, .* far outside \[0, 1\]"):
        close(Restorer(*net)(scaled), alone(scaled)[-1])
    with pytest.warns(UserWarning, match="far outside"):
        restore(net[0], net[1], [scaled])


def test_restorer_takes_noise_beyond_the_range(net):
    (image,) = noise((37, 31))
    rng = np.random.default_rng(1)
    noisy = (0.2 + 0.6 * image + rng.normal(0, 50 / 255, image.shape)).astype(np.float32)
    assert noisy.min() < 0
    Restorer(*net)(noisy)


def test_tiles_put_together(net, alone):
    """Inside one tile only, a picture is what that tile alone gives."""
    (image,) = noise((70, 150))
    restorer = Restorer(*net, tile=64)
    boxes = restorer.plan((70, 150)).tiles
    assert len(boxes) == 6
    restored = restorer(image)
    first = alone(pad(image)[:64, :64])[-1]
    rows, columns = boxes[3].top, boxes[1].left
    close(restored[:rows, :columns], first[:rows, :columns])
    seam = restored[:rows, columns:64]
    second = alone(pad(image)[:64, columns : columns + 64])[-1][:rows, : 64 - columns]
    between = (np.minimum(first[:rows, columns:64], second) - 1e-6 <= seam) & (
        seam <= np.maximum(first[:rows, columns:64], second) + 1e-6
    )
    assert between.all()


def test_a_picture_smaller_than_a_tile_is_exact(net, alone):
    (image,) = noise((60, 33))
    close(Restorer(*net, tile=64)(image), alone(image)[-1])


def test_bfloat16_is_close_and_is_used(net, alone):
    image = data.astronaut()[:32, :40].astype(np.float32) / 255
    difference = Restorer(*net, dtype="bfloat16")(image) - alone(image)[-1]
    assert 1e-5 < np.abs(difference).max() < 0.05


def test_what_does_not_fit_is_refused(net):
    with pytest.raises(TooLarge, match="400×300 pixels need about"):
        Restorer(*net, memory=30_000_000)(np.zeros((300, 400, 3), np.float32))


def test_what_does_not_fit_is_tiled_on_request(net, alone):
    (image,) = noise((96, 160))
    restorer = Restorer(*net, memory=12_000_000, tile="auto")
    plan = restorer.plan((96, 160))
    assert len(plan.tiles) > 1
    assert plan.bytes <= 12_000_000
    assert np.abs(restorer(image) - alone(image)[-1]).mean() < 0.05
    small = image[:40, :40]
    assert len(restorer.plan((40, 40)).tiles) == 1
    close(restorer(small), alone(small)[-1])


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 3), (0, 8, 3), (8, 8, 1)])
def test_another_shape_is_refused(net, shape):
    with pytest.raises(UserError, match="shape"):
        Restorer(*net)(np.zeros(shape, np.float32))


def test_integers_are_refused(net):
    with pytest.raises(UserError, match="uint8; it must be floating point"):
        Restorer(*net)(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"tile": 60}, "tile is 60; it must be a multiple of 8, at least 64"),
        ({"tile": 8}, "tile is 8; it must be"),
        ({"tile": "large"}, "tile is 'large'"),
        ({"batch": 0}, "batch is 0"),
        ({"dtype": "float16"}, "dtype is float16"),
    ],
)
def test_bad_choices(net, choice, message):
    with pytest.raises(UserError, match=message):
        Restorer(*net, **choice)


def test_a_mesh_of_other_axes_is_refused(net):
    mesh = jax.make_mesh((1, 1), ("height", "batch"), axis_types=(AxisType.Auto,) * 2)
    with pytest.raises(UserError, match="the mesh has the axes height, batch"):
        Restorer(*net, mesh=mesh)
