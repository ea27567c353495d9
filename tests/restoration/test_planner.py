import dataclasses
import itertools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import abstract_params
from dgunet_jax.restoration.plan import MOST_BUCKETS, Planner, TooLarge, free_memory, held_per_pixel
from dgunet_jax.restoration.shapes import (
    Box,
    choose_bucket,
    choose_buckets,
    cover,
    holds,
    pixels,
    weights,
)
from dgunet_jax.system.errors import UserError
from tests.choices import CHOICES
from tests.quick import compiler_options
from tests.small import CONFIG


def planner(**choices):
    settings = {"config": CONFIG, "parameter_bytes": 600_000, "memory": None}
    return Planner(**(settings | choices))


def anything_fits(bucket):
    return True


def test_the_plan_of_a_picture():
    plan = planner().plan((321, 481))
    assert plan.pad == (7, 7)
    assert plan.bucket == (488, 328)
    assert plan.transposed
    assert plan.tiles == (Box(0, 0, 328, 488),)


def test_rows_are_divided_evenly_down_to_the_coarsest_scale():
    plan = planner(rows=4).plan((720, 1280))
    assert plan.bucket == (1280, 720)
    assert planner(rows=4).plan((1, 1)).bucket == (32, 8)
    alone = planner().plan((720, 1280)).bytes
    assert alone / 4 < plan.bytes < alone / 2


def test_a_network_with_an_orientation_keeps_pictures_upright():
    config = dataclasses.replace(CONFIG, **CHOICES["sensing"])
    assert planner(config=config).plan((32, 64)).bucket == (32, 64)
    assert planner(config=config, versions=8).plan((32, 64)).bucket == (64, 64)


@pytest.mark.parametrize("low, high", [(1, 60), (64, 320), (200, 500)])
def test_a_hundred_pictures_of_forty_sizes_share_five_shapes(low, high):
    rng = np.random.default_rng(0)
    sizes = rng.integers(low, high, (40, 2))[rng.integers(0, 40, 100)].tolist()
    plans = planner()
    schedule = plans.schedule(map(tuple, sizes))
    assert len(schedule.buckets) <= MOST_BUCKETS
    used = Counter(plans.plan(size, schedule.buckets).bucket for size in sizes)
    assert set(used) == set(schedule.buckets)
    needed = sum(pixels(plans.plan(size).bucket) for size in sizes)
    computed = sum(pixels(bucket) * count for bucket, count in used.items())
    assert schedule.waste == pytest.approx(computed / needed - 1)
    if low > 1:  # tiny pictures are not worth a compilation
        assert schedule.waste < 0.35


def test_few_pictures_of_one_size_share_a_shape_that_fits():
    assert planner().schedule([(481, 321), (321, 481), (480, 320)]).buckets == {(488, 328): 1}


def test_no_pictures_need_no_shapes():
    assert planner().schedule([]).buckets == {}
    assert planner(memory=30_000_000).schedule([(3000, 4000)]).buckets == {}


@pytest.mark.parametrize("choices", [{}, {"tile": "auto", "versions": 8}, {"rows": 2}])
def test_a_schedule_has_a_plan_for_every_size_or_says_what_would_fit(choices):
    plans = planner(memory=30_000_000, **choices)
    sizes = [(37, 31), (31, 37), (100, 90), (176, 176), (300, 400), (2000, 31)]
    schedule = plans.schedule([*sizes, *sizes])
    assert schedule.plans.keys() | schedule.too_large.keys() == set(sizes)
    assert not schedule.plans.keys() & schedule.too_large.keys()
    for size, plan in schedule.plans.items():
        assert plan == plans.plan(size, schedule.buckets)
        assert plan.bucket in schedule.buckets
    for size, message in schedule.too_large.items():
        with pytest.raises(TooLarge) as caught:
            plans.plan(size)
        assert str(caught.value) == message


def test_a_plan_moves_into_the_smallest_bucket_that_holds_it_and_fits():
    limited = planner(memory=30_000_000)
    plan = limited.plan((37, 31))
    assert plan.bucket == (40, 32)
    moved = limited.moved(plan, [(64, 64), (48, 40), (480, 480), (40, 24)])
    assert moved == dataclasses.replace(plan, bucket=(48, 40), bytes=limited.estimate((48, 40)))
    assert limited.moved(plan, [(480, 480), (40, 24)]) == plan


def test_two_large_pictures_of_other_sizes_have_their_own_shapes():
    schedule = planner().schedule([(1280, 720), (720, 480)])
    assert set(schedule.buckets) == {(1280, 720), (720, 480)}
    assert schedule.waste == 0


def test_the_cheapest_shapes_are_found():
    sizes = {(8, 8): 3, (16, 8): 2, (64, 64): 2, (2048, 2048): 1, (2048, 2040): 4}
    best = min(
        sum(
            count * min(pixels(b) for b in buckets if holds(b, size))
            for size, count in sizes.items()
        )
        for buckets in itertools.combinations(sizes, 2)
        if any(holds(b, (2048, 2048)) for b in buckets)
    )
    found = choose_buckets(sizes, 2, anything_fits)
    cost = sum(
        count * min(pixels(b) for b in found if holds(b, size)) for size, count in sizes.items()
    )
    assert cost == best


def test_hundreds_of_sizes():
    rng = np.random.default_rng(1)
    sizes = Counter((int(h) * 8, int(w) * 8) for h, w in rng.integers(10, 200, (600, 2)))
    buckets = choose_buckets(sizes, 5, anything_fits)
    assert len(buckets) <= 5
    assert all(any(holds(bucket, size) for bucket in buckets) for size in sizes)
    assert max(b[0] for b in buckets) == max(size[0] for size in sizes)


def test_shapes_that_do_not_fit_are_not_made():
    def fits(bucket):
        return pixels(bucket) <= 1000 * 500

    buckets = choose_buckets({(1000, 8): 1, (8, 1000): 1, (16, 16): 1}, 1, fits)
    assert len(buckets) == 2
    assert all(fits(bucket) for bucket in buckets)


def test_a_new_picture_takes_a_shape_that_is_close():
    assert choose_bucket((64, 64), [(72, 64), (640, 640)], (8, 8)) == (72, 64)
    assert choose_bucket((64, 64), [(640, 640)], (8, 8)) == (64, 64)
    many = [(8 * i, 8) for i in range(1, 6)]
    height, width = choose_bucket((1000, 520), many, (8, 8))
    assert 1000 <= height <= 1250 and 520 <= width <= 650
    assert height % 128 == 0 and width % 128 == 0


def test_many_pictures_one_after_the_other_need_few_shapes():
    rng = np.random.default_rng(0)
    known = []
    for height, width in rng.integers(1, 64, (500, 2)) * 8:
        size = max(height, width), min(height, width)
        bucket = choose_bucket(size, known, (8, 8))
        assert holds(bucket, size)
        assert pixels(bucket) <= 2 * pixels(size)
        if bucket not in known:
            known.append(bucket)
    assert len(known) <= 60


@pytest.mark.parametrize("count, batch", [(1, 1), (7, 7), (8, 8), (9, 5), (17, 6)])
def test_batches_are_nearly_full(count, batch):
    assert planner(most_in_batch=8).batch((64, 64), count) == batch


def test_batches_fit_into_memory_and_among_the_devices():
    small = planner(most_in_batch=8, memory=20_000_000)
    batch = small.batch((64, 64), 100)
    assert 1 < batch < 8
    assert small.estimate((64, 64), batch) <= 20_000_000
    assert planner(most_in_batch=8, columns=4).batch((64, 64), 1) == 4
    assert planner(most_in_batch=8, most_batch_pixels=2**14).batch((64, 64), 100) == 4


def test_as_many_batches_at_once_as_fit():
    assert planner(most_at_once=4).at_once((64, 64), 2) == 4
    small = planner(most_at_once=4, memory=20_000_000)
    at_once = small.at_once((64, 64), 2)
    assert 1 < at_once < 4
    assert small.estimate((64, 64), 2 * at_once) <= 20_000_000 < small.estimate((64, 64), 8)
    assert planner(most_at_once=4, memory=3_000_000).at_once((64, 64), 2) == 1


def test_what_is_too_large_is_told_what_would_fit():
    limited = planner(memory=30_000_000)
    with pytest.raises(TooLarge) as caught:
        limited.plan((300, 400))
    assert str(caught.value) == (
        "400×300 pixels need about 0.11 GB of memory, 0.03 GB may be used; up to 200×152 fit, or"
        " tiles of 152 (approximate: --tile auto), or more devices (--mesh height=N)"
    )
    limited.plan((152, 200))
    limited.plan((176, 176))
    with pytest.raises(TooLarge):
        limited.plan((192, 192))
    assert limited.schedule([(300, 400), (100, 100)]).buckets == {(104, 104): 1}


@pytest.mark.parametrize("memory", [20_000_000, 30_000_000, 47_000_000])
@pytest.mark.parametrize("size", [(588, 785), (2000, 9000), (9000, 2000), (301, 5000)])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_size_that_is_advised_fits(memory, size, rows):
    limited = planner(memory=memory, rows=rows)
    with pytest.raises(TooLarge) as caught:
        limited.plan(size)
    width, height = map(int, str(caught.value).split("up to ")[1].split(" fit")[0].split("×"))
    limited.plan((height, width))


def test_nothing_fits():
    with pytest.raises(TooLarge, match="not even 64×64 pixels fit"):
        planner(memory=1_500_000, tile="auto").plan((300, 400))


def test_more_devices_hold_larger_pictures():
    memory = planner().plan((300, 400)).bytes // 2
    with pytest.raises(TooLarge):
        planner(memory=memory).plan((300, 400))
    assert planner(memory=memory, rows=4).plan((300, 400)).bytes <= memory


def test_asked_for_tiles_are_used_where_the_picture_is_larger():
    tiled = planner(tile=64)
    assert len(tiled.plan((64, 60)).tiles) == 1
    plan = tiled.plan((64, 130))
    assert plan.bucket == (64, 64)
    assert [box.left for box in plan.tiles] == [0, 32, 72]
    with pytest.raises(TooLarge):
        planner(tile=512, memory=20_000_000).plan((600, 600))


def test_bad_tiles():
    with pytest.raises(UserError, match="tile is 90; it must be a multiple of 8, at least 64"):
        planner(tile=90)


@pytest.mark.parametrize("size", [(100, 64), (64, 200), (333, 257)])
def test_tiles_cover_a_picture_and_their_weights_add_up_to_one(size):
    boxes = cover(size, 64, 16)
    total = np.zeros((*size, 1))
    for box, weight in zip(boxes, weights(boxes), strict=True):
        assert weight.min() > 0
        box.cut(total)[...] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for a, b in itertools.pairwise(sorted({box.left for box in boxes})):
        assert a + 64 - b >= 15


CONFIGS = {
    "derain": VARIANTS["derain"],
    "derain_plus": VARIANTS["derain_plus"],
    "small": CONFIG,
    "tied": dataclasses.replace(CONFIG, width=40, degradation="tied"),
    "concat": dataclasses.replace(CONFIG, width=32, growth=16, merge="concat"),
    "wide_steps": dataclasses.replace(CONFIG, width=16, growth=32),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_estimate_is_what_the_compiled_program_takes_or_up_to_twice_that(config: DGUNetConfig):
    params = abstract_params(config)
    images = jax.ShapeDtypeStruct((1, 256, 192, config.channels), jnp.float32)
    sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)

    def last(variables, images, sizes):
        return DGUNet(config).apply(variables, images, sizes).image

    compiled = (
        jax.jit(last, compiler_options=compiler_options())
        .lower({"params": params}, images, sizes)
        .compile()
    )
    memory: Any = compiled.memory_analysis()
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    parameter_bytes = sum(4 * leaf.size for leaf in jax.tree.leaves(params))
    estimate = planner(config=config, parameter_bytes=parameter_bytes).estimate((256, 192))
    assert taken <= estimate <= 2 * taken


def test_free_memory_is_known_here_and_sensible():
    free = free_memory(jax.devices()[0])
    assert free is None or 2**26 < free < 2**50


def test_plan_counts_the_picture_itself():
    """In tiles only a tile is computed at a time, but all of the picture is in memory."""
    held = held_per_pixel()
    tiled = planner(tile=64, memory=30_000_000)
    assert tiled.plan((600, 600)).held == 600 * 600 * held
    with pytest.raises(TooLarge) as caught:
        tiled.plan((12_000, 12_000))
    assert str(caught.value) == (
        "12000×12000 pixels need about 9.22 GB of memory, even in tiles of 64, 0.03 GB may be used;"
        " up to 624×624 fit"
    )
    tiled.plan((624, 624))
    with pytest.raises(TooLarge):
        tiled.plan((800, 800))
    with pytest.raises(TooLarge, match="not even 64×64 pixels fit"):
        planner(tile=64, memory=5_000_000).plan((12_000, 12_000))


def test_plan_of_all_stages_counts_their_estimates():
    assert held_per_pixel(kept=7, side_by_side=8) > held_per_pixel(kept=7) > held_per_pixel()
    size = (600, 600)
    tiled = planner(tile=64, memory=30_000_000)
    tiled.plan(size, held=held_per_pixel())
    with pytest.raises(TooLarge):
        tiled.plan(size, held=held_per_pixel(7, 8))


def test_plan_on_an_accelerator_counts_the_picture_in_the_memory_of_the_host():
    plans = planner(tile=64, memory=30_000_000, host=1_000_000_000)
    assert plans.plan((3000, 3000)).tiles
    with pytest.raises(TooLarge) as caught:
        plans.plan((12_000, 12_000))
    assert str(caught.value) == (
        "12000×12000 pixels need about 9.22 GB of the host's memory, 1.00 GB may be used"
    )


def test_tiles_are_smaller_where_the_picture_leaves_less_room():
    plans = planner(tile="auto", memory=30_000_000)
    small, large = plans.plan((200, 200)), plans.plan((560, 560))
    assert large.bucket[0] < small.bucket[0]
    for plan in (small, large):
        assert plan.bytes + plan.held <= 30_000_000


def test_schedule_has_a_bucket_for_every_plan_near_the_limit():
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(20, 180, (120, 2))]
    plans = planner(memory=30_000_000)
    schedule = plans.schedule(sizes)
    fitting, too_large = schedule.arrange([SimpleNamespace(size=size) for size in sizes])
    assert len(fitting) + len(too_large) == len(sizes)
    for bucket, batch in schedule.buckets.items():
        held = max(plan.held for plan in schedule.plans.values() if plan.bucket == bucket)
        assert plans.fits(bucket, batch, held)
