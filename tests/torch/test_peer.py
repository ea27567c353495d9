"""The network in plain PyTorch, which benchmarks compare with, computes the same function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dgunet_jax
from benchmarks.pytorch_peer import Peer, loss
from benchmarks.weights import random_params
from dgunet_jax import DGUNet
from dgunet_jax.models.config import VARIANTS
from dgunet_jax.training import losses
from tests.quick import compiler_options


def small(name: str) -> DGUNet:
    """A variant with few channels and stages."""
    config = VARIANTS[name]
    return DGUNet(
        dataclasses.replace(
            config,
            width=8,
            growth=4,
            last_growth=4 if config.last_growth else 0,
            num_stages=4,
            measurements=100 if config.measurements else 0,
        )
    )


@functools.cache
def arrays(name: str):
    """A network with random weights, two images, and two others."""
    model = small(name)
    params = random_params(model.config)
    if "sampling_matrix" in params:
        params["sampling_matrix"] /= 4  # of norm below 1, so that the gradient steps contract
    rng = np.random.default_rng(1)
    images = rng.random((2, 32, 64, model.config.channels), np.float32)
    return model, params, images, np.roll(images, 1, axis=1)


@functools.cache
def estimates(name: str) -> np.ndarray:
    """Those of all stages, as JAX computes them."""
    model, params, images, _ = arrays(name)
    apply = jax.jit(model.apply, compiler_options=compiler_options())
    return np.asarray(apply({"params": params}, images).stages)


def turned(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", VARIANTS)
def test_peer_estimates(name: str, memory_format: torch.memory_format):
    model, params, images, _ = arrays(name)
    expected = estimates(name)
    peer = Peer(model.config, dgunet_jax.to_pytorch(model, {"params": params}))
    with torch.no_grad():
        found = peer(turned(images).contiguous(memory_format=memory_format)).numpy()
    assert np.abs(expected[-1] - images).max() > 0.01
    np.testing.assert_allclose(found.transpose(0, 1, 3, 4, 2), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["derain", "deblur_plus"])
def test_peer_gradient(name: str):
    model, params, images, targets = arrays(name)

    def total(params):
        stages = model.apply({"params": params}, images).stages
        return jnp.sum(losses.stage_losses("charbonnier_edge", stages, targets))

    value, gradient = jax.jit(jax.value_and_grad(total), compiler_options=compiler_options())(
        params
    )
    peer = Peer(model.config, dgunet_jax.to_pytorch(model, {"params": params}))
    found = loss(peer(turned(images)), turned(targets))
    found.backward()
    np.testing.assert_allclose(found.item(), value, rtol=1e-5)
    official = dgunet_jax.to_pytorch(model, {"params": gradient})
    expected = {k: v.detach() for k, v in Peer(model.config, official).named_parameters()}
    for key, parameter in peer.named_parameters():
        scale = expected[key].abs().max().item() + 1e-6
        assert parameter.grad is not None
        difference = (parameter.grad - expected[key]).abs().max().item()
        # Rounding of two libraries, which differs between processors: up to 3e-3.
        assert difference < 1e-2 * scale, key
