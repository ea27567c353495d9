"""This project beside the same network in PyTorch, on this machine's CPU, in turns.

python -m benchmarks.peers
python -m benchmarks.peers --rounds 5
"""

import argparse
import multiprocessing
import statistics
import sys
from multiprocessing.connection import Connection
from typing import Any

import jax

from benchmarks import programs
from benchmarks.timing import clock
from dgunet_jax.models.config import VARIANTS
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError

# Variant, whether it is a training step, and images, their height and width.
WORKS = (
    ("derain", False, (1, 256, 256)),
    ("deblur", False, (1, 256, 256)),
    ("derain", True, (2, 64, 64)),
    ("deblur", True, (1, 128, 128)),
)
KINDS = ("ours", "eager", "channels_last", "compiled")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Any = parser.add_argument
    add("--rounds", default=3, type=int, metavar="N", help="one run of each (default: 3)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        raise UserError(f"--rounds is {rounds}; it must be at least 1")
    terminal.show(f"| work | {' | '.join(f'{kind}, s' for kind in KINDS)} | ours / best peer |")
    terminal.show("|---" * (len(KINDS) + 2) + "|")
    for variant, step, shape in WORKS:
        times = measure(variant, step, shape, rounds)
        best = min(KINDS[1:], key=lambda kind: statistics.median(times[kind]))
        pairs = zip(times["ours"], times[best], strict=True)
        ratio = statistics.median(ours / peer for ours, peer in pairs)
        n, height, width = shape
        cells = [f"{variant} {'step' if step else 'forward'} {n}×{height}×{width}"]
        cells += [f"{statistics.median(times[kind]):.2f}" for kind in KINDS]
        terminal.show(f"| {' | '.join(cells)} | {ratio:.2f} ({best}) |")
    return 0


def measure(
    variant: str, step: bool, shape: tuple[int, int, int], rounds: int
) -> dict[str, list[float]]:
    """Return seconds of every round, by kind; every second round takes the kinds backwards."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    try:
        for kind in KINDS:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, kind, variant, step, shape))
            process.start()
            workers[kind] = ours, process
            ours.recv()  # compiled, and run once; one after the other
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for i in range(rounds):
            for kind in KINDS[:: -1 if i % 2 else 1]:
                connection, _ = workers[kind]
                connection.send(None)
                times[kind].append(connection.recv())
        return times
    finally:
        for _, process in workers.values():
            process.kill()
            process.join()


def _serve(
    connection: Connection, kind: str, variant: str, step: bool, shape: tuple[int, int, int]
) -> None:
    run = (_ours if kind == "ours" else _peer)(kind, variant, step, shape)
    run()
    connection.send("ready")
    while True:
        connection.recv()
        connection.send(clock(run))


def _ours(_: str, variant: str, step: bool, shape: tuple[int, int, int]) -> Any:
    jax.config.update("jax_enable_compilation_cache", False)
    made = programs.training_step(variant, 1, shape) if step else programs.forward(variant, 1)
    return made.compile().run


def _peer(kind: str, variant: str, step: bool, shape: tuple[int, int, int]) -> Any:
    import torch

    import dgunet_jax
    from benchmarks.pytorch_peer import Peer, loss
    from benchmarks.weights import random_params

    config = VARIANTS[variant]
    params = {"params": random_params(config)}
    peer = Peer(config, dgunet_jax.to_pytorch(dgunet_jax.DGUNet(config), params))
    n, height, width = shape
    images = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))
    if kind != "eager":
        images = images.contiguous(memory_format=torch.channels_last)
    target = images.roll(1, 2)
    network: Any = torch.compile(peer, dynamic=False) if kind == "compiled" else peer
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-4)

    def train() -> None:
        optimizer.zero_grad()
        loss(network(images), target).backward()
        optimizer.step()

    return train if step else torch.no_grad()(lambda: network(images))


if __name__ == "__main__":
    sys.exit(terminal.run(main))
