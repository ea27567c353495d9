"""The protocols and suites are complete and consistent."""

import dataclasses

import numpy as np
import pytest

from dgunet_jax import UserError
from dgunet_jax.evaluation.protocols import DATASETS, GENERIC, PROTOCOLS, SUITES, protocols


def test_protocols_are_complete():
    assert {*DATASETS, *GENERIC} == {*PROTOCOLS}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert (protocol.count is None) == (name in GENERIC)
        unpublished = name in GENERIC or name.endswith("_whole") or name.startswith("set14")
        unpublished |= name.endswith(("_30", "_40"))
        unpublished |= protocol.sigma is not None and not protocol.in_bytes
        assert bool(protocol.published) != unpublished
        assert (protocol.tile is not None) == (protocol.channels == 1 and "whole" not in name)
        degraded = protocol.sigma is not None or protocol.ratio is not None
        assert degraded == (protocol.layout == "clean")
        assert (protocol.padding == 32) == (protocol.channels == 1) == (protocol.measure == "grey")
        assert (protocol.measure == "server") == (protocol.layout == "dnd")
        assert (protocol.list_file is None) == (protocol.layout != "listed")
        assert protocol.rounded or protocol.measure not in ("luma", "aligned")
    assert {name for name, each in PROTOCOLS.items() if each.self_ensemble} == {"sidd", "dnd"}
    rows = {name: PROTOCOLS[f"set11_{name}"].measurements for name in (1, 4, 10, 25, 50)}
    assert rows == {1: 11, 4: 41, 10: 103, 25: 256, 50: 512}
    assert PROTOCOLS["kodak24_50"].sigma == 50


def test_the_five_degradations_are_not_rounded_and_average_to_the_published_number():
    members = [protocol for _, protocol in protocols("five")]
    assert not any(protocol.rounded for protocol in members)
    psnr = [protocol.published[0].psnr for protocol in members]
    assert np.mean(psnr) == pytest.approx(SUITES["five"].published[0].psnr, abs=0.011)


def test_suite_average_of_the_deraining_sets_is_that_of_the_paper():
    suite = SUITES["derain"]
    for i, average in enumerate(suite.published):
        members = [protocol.published[i] for _, protocol in protocols("derain")]
        assert np.mean([each.psnr for each in members]) == pytest.approx(average.psnr, abs=0.011)
        ssim = np.mean([each.ssim or 0 for each in members])
        assert ssim == pytest.approx(average.ssim, abs=0.0011)


def test_protocols_of_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown data set 'nope'; it must be gopro, .* or five"):
        protocols("nope")


def test_protocols_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["gopro"].rounded = False
