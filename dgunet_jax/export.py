"""`dgunet export`: a network as a file that programs run without this package."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export
from numpy.typing import NDArray

from dgunet_jax.checkpoints import read_aloud
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError, printable
from dgunet_jax.system.files import check_folder, replacing
from dgunet_jax.system.terminal import show

PLATFORMS = "cpu", "cuda", "tpu"
CLOSE = 1e-4  # what ONNX Runtime makes of a picture is no further from what the network makes


def run(options: argparse.Namespace) -> int:
    """Write a checkpoint's network as a StableHLO or ONNX file.

    Raises:
      UserError: the ending is not that of the format, the checkpoint cannot be read or exported, or
        the file cannot be written.
    """
    ending = f".{options.format}"
    if options.output.suffix.lower() != ending:
        raise UserError(f"{options.output}: the ending must be {ending}, as --format says")
    check_folder(options.output.parent)
    checkpoint = read_aloud(options.checkpoint, options.num_stages, options.weights)
    write = {"stablehlo": to_stablehlo, "onnx": to_onnx}[options.format]
    try:
        content = write(checkpoint.model, checkpoint.variables, options.stages)
    except UserError as error:
        raise UserError(f"{options.checkpoint}: {error}") from error
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.output) as file:
        file.write(content)
    show(f"wrote {printable(options.output)}, {len(content) / 1e6:.1f} MB")
    return 0


def to_stablehlo(model: DGUNet, variables: Mapping[str, Any], stages: bool = False) -> bytes:
    """Return a network as StableHLO for CPUs, CUDA and TPUs, for `jax.export.deserialize`.

    Weights are part of it, in the dtype that they have. Products are full float32 on every
    platform, as `dgunet restore` computes them.

    Args:
      model, variables: the network.
      stages: whether every estimate is given.

    Returns:
      The content of a file. Its function takes y, float32: pictures (N, 8h, 8w, C) in [0, 1], or
      what the matrix of a compressive-sensing network measures, (N, h, w, M). It returns x, of the
      pictures' shape, not clipped, or (K, N, H, W, C) with `stages`. N, h and w are any numbers.

    Raises:
      UserError: the network takes more than a picture.
    """
    _check(model.config)
    config = dataclasses.replace(model.config, kernels="plain")
    y = jax.ShapeDtypeStruct(export.symbolic_shape(f"n, {sides(config)}"), np.float32)
    restore = jax.jit(_restoring(config, variables, stages))
    return bytes(export.export(restore, platforms=PLATFORMS)(y).serialize())


def to_onnx(model: DGUNet, variables: Mapping[str, Any], stages: bool = False) -> bytes:
    """Return a network as an ONNX model, which ONNX Runtime has computed as the network does.

    As `to_stablehlo`, but N is 1, the computation float32, and the input's name y, the output's x.

    Raises:
      UserError: the network takes more than a picture, or ONNX Runtime's result differs from the
        network's by more than `CLOSE`.
    """
    from dgunet_jax.convert import onnx_file

    _check(model.config)
    config = dataclasses.replace(model.config, kernels="plain", dtype="float32")
    content = onnx_file.to_onnx(DGUNet(config), variables, sides(config), stages)
    restore = jax.jit(_restoring(config, variables, stages))
    for height, width in ((5, 3), (2, 4)):
        y = _measured(config, variables, height * config.multiple, width * config.multiple)
        difference = np.abs(onnx_file.run_onnx(content, y) - restore(y)).max()
        if not difference <= CLOSE:
            raise UserError(
                f"ONNX Runtime's result differs from the network's by {difference:.2g}, more than"
                f" {CLOSE}; no file is written"
            )
    return content


def sides(config: DGUNetConfig) -> str:
    """Return the shape of a network's input behind N, in terms of h and w."""
    if config.measurements:
        return f"h, w, {config.measurements}"
    return f"{config.multiple}*h, {config.multiple}*w, {config.channels}"


def _check(config: DGUNetConfig) -> None:
    """Raise a UserError if the network takes more than a picture, or not the whole of it."""
    if config.takes_operator or config.noise_input:
        told = "the operator that has measured it" if config.takes_operator else "its noise"
        raise UserError(
            f"the network is told, beside a picture, {told}; only one that is given the picture"
            " alone can be exported"
        )
    if config.window:
        raise UserError(f"window is {config.window}; only networks without one can be exported")


def _restoring(
    config: DGUNetConfig, variables: Mapping[str, Any], stages: bool
) -> Callable[[Any], Any]:
    """Return the network as a function of its input, with weights that are constants."""
    model, measured = DGUNet(config), bool(config.measurements)

    def restore(y: Any) -> Any:
        restored: Any = model.apply(variables, y, measured=measured)
        return restored.stages if stages else restored.image

    return highest(restore)


def _measured(
    config: DGUNetConfig, variables: Mapping[str, Any], height: int, width: int
) -> NDArray[np.float32]:
    """Return what a network takes of a smooth picture with noise."""
    picture = np.random.default_rng(0).uniform(0, 0.2, (1, height, width, config.channels))
    picture += np.linspace(0, 0.8, width)[None, None, :, None]
    started: Any = DGUNet(config).apply(variables, picture.astype(np.float32), method="start")
    return np.asarray(started[1])
