"""Writes the PyTorch files in tests/fixtures; its README.md has the command."""

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fixtures import weights


def checkpoint() -> tuple[torch.nn.Module, dict[str, Any]]:
    """A network with the weights of `weights.network()`, and what is saved beside its state dict.

    Adam has trained it for three steps before, so that there is something to save.
    """
    torch.manual_seed(0)
    slope = torch.nn.PReLU()
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), slope, torch.nn.Conv2d(4, 3, 3, bias=False), slope
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 2])
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(1, 3, 9, 7)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    network.load_state_dict(
        {key: torch.from_numpy(value.copy()) for key, value in weights.network().items()}
    )
    beside = {
        "epoch": 3,
        "best_psnr": np.float64(29.35),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    return network, beside


def views() -> OrderedDict[str, torch.Tensor]:
    """The tensors of `weights.views()`, in its types and layouts."""
    arrays = weights.views()
    tensors = OrderedDict((key, torch.from_numpy(value.copy())) for key, value in arrays.items())
    base = tensors["whole"]
    tensors["offset"] = base[7:19].view(3, 4)
    tensors["transposed"] = base[:12].view(3, 4).t()
    tensors["strided"] = base[2:60:3]
    tensors["channels_last"] = base[10:58].view(2, 4, 3, 2).permute(0, 3, 1, 2)
    tensors["bfloat16"] = tensors["bfloat16"].to(torch.bfloat16)
    tensors["parameter"] = torch.nn.Parameter(tensors["parameter"])
    return tensors


def main(folder: Path) -> None:
    network, beside = checkpoint()
    parallel = torch.nn.DataParallel(network)
    old_format = {"_use_new_zipfile_serialization": False}
    torch.save({"state_dict": parallel.state_dict(), **beside}, folder / "legacy.pth", **old_format)
    torch.save(network.state_dict(), folder / "zip.pth")
    torch.save({"state_dict": network.state_dict(), **beside}, folder / "zip_wrapped.pth")
    torch.save(views(), folder / "views.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
