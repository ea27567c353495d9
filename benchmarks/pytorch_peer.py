"""The network in plain PyTorch, written from the mathematics: what ours is timed against.

Weights come from `dgunet_jax.to_pytorch`, so both compute the same function (tests/torch). It does
no more than a PyTorch user would write: no kernels of its own, and nothing that helps a particular
device but the memory format of its images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgunet_jax.convert import table
from dgunet_jax.models.config import BLOCK, DGUNetConfig
from dgunet_jax.models.layers import NUM_SCALES

Memory = tuple[list[Tensor], list[Tensor], Tensor]  # encoder, decoder, attention features

_EPSILON = 1e-5  # of the instance normalisation
_LOSS_EPSILON = 1e-3  # of the Charbonnier loss


class Peer(torch.nn.Module):
    """DGUNet, DGUNet+ and the whole-image compressive-sensing networks, NCHW.

    Args:
      config: of a released variant, or one with other sizes.
      state_dict: official names to arrays, as `to_pytorch` gives them.
    """

    def __init__(self, config: DGUNetConfig, state_dict: Mapping[str, np.ndarray]):
        super().__init__()
        self.config = config
        for row in table.rows(config):
            if row.path is not None:
                name = _name(row.path, row.index)
                self.register_parameter(
                    name, torch.nn.Parameter(torch.from_numpy(np.array(state_dict[row.key])))
                )

    def shared(self, name: str) -> Any:
        """A parameter that several stages use."""
        return getattr(self, name)

    def forward(self, images: Tensor) -> Tensor:
        """Every stage's estimate, (K, N, C, H, W), of images (N, C, H, W)."""
        config = self.config
        x = y = images
        if config.measurements:
            matrix = self.shared("sampling_matrix")
            y = _to_blocks(images) @ matrix.T
            x = _from_blocks(y @ matrix, images.shape)
        x, memory = self._stage("first", None, x, None, y)
        estimates = [x]
        for i in range(config.num_middle):
            index = None if config.share_middle else i
            x, memory = self._stage("middle", index, x, memory, y)
            estimates.append(x)
        estimates.append(self._stage("last", None, x, memory, y)[0])
        return torch.stack(estimates)

    def _stage(
        self, position: str, index: int | None, x: Tensor, memory: Memory | None, y: Tensor
    ) -> tuple[Tensor, Any]:
        stage = _Stage(self, position, index)
        v = stage.gradient(x, y)
        features = stage.shallow(v)
        if memory is not None:
            features = stage.merge(features, memory[2])
        if position == "last":
            base = y if self.config.last_adds == "input" else v
            return base + stage.conv("tail", features), None
        bottom, kept = stage.encoder(features, memory)
        outputs = stage.decoder(bottom, kept)
        attention, x = stage.attention(outputs[0], v)
        return x, (kept, outputs, attention)


class _Stage:
    """The parts of one stage, with the weights they have there."""

    def __init__(self, peer: Peer, position: str, index: int | None):
        self.peer, self.config = peer, peer.config
        self.position, self.index = position, index

    def weight(self, path: str) -> Any:
        return getattr(self.peer, _name(f"{self.position}.{path}", self.index), None)

    def conv(self, path: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.weight(f"{path}.kernel")
        return F.conv2d(x, kernel, self.weight(f"{path}.bias"), stride, (kernel.shape[2] - 1) // 2)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """v = x − ρ Φᵀ(Φ(x) − y)."""
        step_size = self.weight("step_size")
        if self.config.measurements:
            matrix = self.peer.shared("sampling_matrix")
            residual = _to_blocks(x) @ matrix.T - y
            return x - step_size * _from_blocks(residual @ matrix, x.shape)
        residual = self.operator("forward_network", x) - y
        return x - step_size * self.operator("adjoint_network", residual)

    def operator(self, path: str, x: Tensor) -> Tensor:
        kernels, biases = (
            [self.weight(f"{path}.{n}_{i}") for i in (1, 2)] for n in ("kernel", "bias")
        )
        h = F.prelu(
            F.conv2d(x, kernels[0], biases[0], padding=1), self.peer.shared("operator_slope")
        )
        return x + F.conv2d(h, kernels[1], biases[1], padding=1)

    def shallow(self, x: Tensor) -> Tensor:
        x = self.conv("shallow.conv", x)
        owns = self.position == "middle" and self.config.own_attention_slopes
        slope = (self.weight if owns else self.peer.shared)("attention_slope")
        b = F.prelu(self.conv("shallow.attention.conv_1", x), slope)
        b = self.conv("shallow.attention.conv_2", b)
        weight = F.relu(self.conv("shallow.attention.squeeze", b.mean((2, 3), keepdim=True)))
        return x + b * torch.sigmoid(self.conv("shallow.attention.excite", weight))

    def merge(self, x: Tensor, z: Tensor) -> Tensor:
        both = torch.cat([x, z], 1)
        kind = self.config.last_merge if self.position == "last" else self.config.merge
        if kind == "concat":
            return self.conv("merge.fuse", both)
        projected = _project(self.conv("merge.basis", both), z).to(x.dtype)
        return x + self.conv("merge.fuse", torch.cat([x, projected], 1))

    def block(self, path: str, x: Tensor, norm: bool) -> Tensor:
        h = self.conv(f"{path}.conv_1", x)
        if norm:
            first, second = h.chunk(2, 1)
            scale, bias = self.weight(f"{path}.norm.scale"), self.weight(f"{path}.norm.bias")
            first = F.instance_norm(first, weight=scale, bias=bias, eps=_EPSILON)
            h = torch.cat([first, second], 1)
        h = F.leaky_relu(self.conv(f"{path}.conv_2", F.leaky_relu(h, 0.2)), 0.2)
        return h + self.conv(f"{path}.identity", x)

    def encoder(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, list[Tensor]]:
        kept = []
        for i in range(NUM_SCALES):
            x = self.block(f"encoder.block_{i}", x, norm=True)
            if memory is not None:
                x = self.modulated(f"encoder.memory_{i}", x, memory[0][i], memory[1][i])
            kept.append(x)
            x = self.conv(f"encoder.down_{i}", x, stride=2)
        return self.block(f"encoder.block_{NUM_SCALES}", x, norm=True), kept

    def modulated(self, path: str, out: Tensor, encoder: Tensor, decoder: Tensor) -> Tensor:
        m = self.conv(f"{path}.encoder", encoder) + self.conv(f"{path}.decoder", decoder)
        if self.config.memory == "additive":
            return out + m
        m = F.leaky_relu(m, 0.1)
        return (
            out * torch.sigmoid(self.conv(f"{path}.scale", m)) + self.conv(f"{path}.shift", m) + out
        )

    def decoder(self, x: Tensor, kept: list[Tensor]) -> list[Tensor]:
        outputs = []
        for i in reversed(range(NUM_SCALES)):
            kernel, bias = (
                self.weight(f"decoder.up_{i}.kernel"),
                self.weight(f"decoder.up_{i}.bias"),
            )
            up = F.conv_transpose2d(x, kernel, bias, stride=2)
            x = torch.cat([up, self.conv(f"decoder.skip_{i}", kept[i])], 1)
            x = self.block(f"decoder.block_{i}", x, norm=False)
            outputs.insert(0, x)
        return outputs

    def attention(self, f: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        image = v + self.conv("attention.image", f)
        features = self.conv("attention.features", f)
        if self.config.attention == "gated":
            features = features * torch.sigmoid(self.conv("attention.gate", image))
        return f + features, image


def loss(estimates: Tensor, target: Tensor) -> Tensor:
    """The published loss of deblurring and deraining, summed over the stages."""
    return sum(
        (
            _charbonnier(x, target) + 0.05 * _charbonnier(_laplacian(x), _laplacian(target))
            for x in estimates
        ),
        torch.zeros((), device=target.device),
    )


def _charbonnier(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt((x.float() - y.float()).square() + _LOSS_EPSILON**2).mean()


def _laplacian(x: Tensor) -> Tensor:
    """x − G(up(down(G(x)))), G with [.05 .25 .4 .25 .05] and replicated borders."""
    even = torch.zeros_like(x)
    even[..., ::2, ::2] = 4 * _gaussian(x)[..., ::2, ::2]
    return x - _gaussian(even)


def _gaussian(x: Tensor) -> Tensor:
    taps = torch.tensor([0.05, 0.25, 0.4, 0.25, 0.05], dtype=x.dtype, device=x.device)
    channels = x.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=channels)


def _project(basis: Tensor, z: Tensor) -> Tensor:
    """V (VᵀV)⁻¹ Vᵀ z in float32, the columns of V scaled to unit length."""
    with torch.autocast(z.device.type, enabled=False):
        n, maps, height, width = basis.shape
        v = F.normalize(basis.float().reshape(n, maps, height * width), dim=2)
        flat = z.float().reshape(n, -1, height * width)
        gram = v @ v.transpose(1, 2) + 1e-7 * torch.eye(maps, device=z.device)
        coefficients = torch.linalg.solve(gram, v @ flat.transpose(1, 2))
        return (coefficients.transpose(1, 2) @ v).reshape(z.shape)


def _to_blocks(x: Tensor) -> Tensor:
    """(N, 1, H, W) to (N, H/32, W/32, 1024)."""
    n, _, height, width = x.shape
    x = x.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(2, 3)
    return x.reshape(n, height // BLOCK, width // BLOCK, BLOCK**2)


def _from_blocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    n, rows, columns, _ = blocks.shape
    return blocks.reshape(n, rows, columns, BLOCK, BLOCK).transpose(2, 3).reshape(shape)


def _name(path: str, index: int | None) -> str:
    """The name of a parameter; PyTorch has no dots in them."""
    return path.replace(".", "__") + ("" if index is None else f"__{index}")
