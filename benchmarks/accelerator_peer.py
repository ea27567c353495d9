"""The PyTorch peer on the accelerator, in a process of its own; needs PyTorch."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import dgunet_jax
from benchmarks.accelerator_process import first_line
from benchmarks.accelerator_programs import WORKS, repeat
from benchmarks.accelerator_table import median
from benchmarks.pytorch_peer import Peer, loss
from benchmarks.weights import random_params


def describe(tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield what the table's header says of PyTorch; "missing" if it cannot be measured."""
    words = {"torch": torch.__version__, "torch CUDA": torch.version.cuda}
    if not torch.cuda.is_available() and not tiny:
        yield {"missing": f"PyTorch {torch.__version__} finds no CUDA device"}
        return
    yield words | {"torch cuDNN": torch.backends.cudnn.version()}


def measure(work: str, precision: str, compiled: bool, tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield time and memory of the peer at the work of `accelerator_programs.measure`.

    Args:
      work: one of `WORKS`.
      precision: "float32"; "default", which is TF32; or "bfloat16", by autocast.
      compiled: by `torch.compile`, the loss too where it can; otherwise eager.
      tiny: whether network and images are tiny; they may then run on a CPU.

    Raises:
      FloatingPointError: a result is not finite; its time would mean nothing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _set_precision(precision)
    run, note = _program(work, precision, compiled, tiny, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def wait(_: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    begin = time.perf_counter()
    result = run()
    if not torch.isfinite(result).all():
        raise FloatingPointError("the program gave values that are not finite")
    seconds = time.perf_counter() - begin
    yield {
        "note": note,
        "compile_seconds": seconds,
        **median(repeat(run, wait)),
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
    }
    torch.compiler.reset()


def _set_precision(precision: str) -> None:
    reduced = precision != "float32"
    torch.set_float32_matmul_precision("high" if reduced else "highest")
    torch.backends.cudnn.allow_tf32 = reduced
    torch.backends.cudnn.benchmark = True  # XLA tries its kernels as well


def _program(
    name: str, precision: str, compiled: bool, tiny: bool, device: torch.device
) -> tuple[Callable[[], torch.Tensor], str]:
    """Return what runs the work, a training step with its Adam update or restoring, and a note."""
    work = WORKS[name]
    model = dgunet_jax.DGUNet(work.config(tiny))
    weights = dgunet_jax.to_pytorch(model, {"params": random_params(model.config)})
    peer = Peer(model.config, weights).to(device)
    images = torch.from_numpy(work.images(tiny).transpose(0, 3, 1, 2).copy())
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    target = images.roll(1, 2)
    network: Any = torch.compile(peer, dynamic=False) if compiled else peer

    def restore() -> torch.Tensor:
        if precision != "bfloat16":
            return network(images)
        with torch.autocast(device.type, torch.bfloat16):
            return network(images)

    if not work.step:
        return torch.no_grad()(restore), ""
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-4)
    objective, note = _compiled_loss(model.config.num_stages, target) if compiled else (loss, "")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = objective(restore(), target)
        value.backward()
        optimizer.step()
        return value.detach()

    return step, note


def _compiled_loss(num_stages: int, target: torch.Tensor) -> tuple[Any, str]:
    """Return the loss compiled, or as it is and why, where PyTorch cannot compile it."""
    compiled: Any = torch.compile(loss, dynamic=False)
    estimates = target.expand(num_stages, *target.shape).contiguous().requires_grad_()
    try:
        compiled(estimates, target).backward()
    except Exception as error:  # PyTorch raises many kinds
        return loss, f"its loss eager: {first_line(error)}"
    return compiled, ""
