"""How fast training patches come out of 1280×720 PNG pairs, against a plain Pillow loop.

With --torch, which needs PyTorch (make .venv/.installed-torch), also against its DataLoader, with
as many workers and by the clock on the wall: PNG pairs, and the same packed as records.

python -m benchmarks.loading
python -m benchmarks.loading --torch
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.pipeline import training_batches
from dgunet_jax.data.records import pack
from dgunet_jax.data.sources import Source, files_in, open_source, photographs

PATCH, BATCH = 256, 16
WIDTH, HEIGHT = 1280, 720
WORKERS = 2
_SAMPLES = 300  # an epoch of 2100 patches, as GoPro has: grain shuffles much shorter ones slowly
_BATCHES = 12  # timed at once, after those that were made ahead of time
_AHEAD = 8


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="of two batches each (default: 5)")
    parser.add_argument("--torch", action="store_true", help="against PyTorch's DataLoader")
    options = parser.parse_args(argv)
    rounds = options.rounds
    if rounds < 1:
        parser.error(f"--rounds is {rounds}; it must be at least 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_pairs(folder)
        megabytes = statistics.mean(path.stat().st_size for pair in files for path in pair) / 1e6
        print(f"{len(files)} pairs of {WIDTH}×{HEIGHT} PNG files, {megabytes:.1f} MB each")
        if options.torch:
            print(f"patches of {PATCH}×{PATCH}, per second, with {WORKERS} workers each")
            _against_torch(folder, files, rounds)
            return 0
        print(f"patches of {PATCH}×{PATCH}, per second of one core's time")
        _report(folder, files, rounds)
    return 0


def write_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Photographs of scikit-image, enlarged, with a little noise as cameras have; and blurred."""
    rng = np.random.default_rng(0)
    source = photographs()
    files = []
    for index in range(len(source)):
        (pixels,) = source.read(index)
        sharp = Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        blurred = sharp.filter(ImageFilter.GaussianBlur(2))
        pair = (folder / "input" / f"{index}.png", folder / "target" / f"{index}.png")
        for image, path in zip((blurred, sharp), pair, strict=True):
            noise = rng.normal(0, 1, (HEIGHT, WIDTH, 3))
            noisy = np.rint(np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noisy).save(path)
        files.append(pair)
    return files


class _Watched:
    """A source that adds up the time it takes to read."""

    def __init__(self, source: Source):
        self._source = source
        self.seconds = 0.0
        self.pairs, self.name, self.size = source.pairs, source.name, source.size

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> tuple[NDArray[np.uint8], ...]:
        begin = time.process_time()
        images = self._source.read(index)
        self.seconds += time.process_time() - begin
        return images


def _config(folder: Path, workers: int) -> DataConfig:
    return DataConfig(
        *(str(folder), str(folder)),
        patch=PATCH,
        batch=BATCH,
        samples_per_picture=_SAMPLES,
        workers=workers,
    )


def _report(folder: Path, files: list[tuple[Path, Path]], rounds: int) -> None:
    config = _config(folder, workers=0)
    sources = {
        f"ours, {what} in memory": _Watched(open_source(config.train, pairs=True, cache_bytes=room))
        for what, room in (("none", 0), ("all", None))
    }
    runs: dict[str, Callable[[], object]] = {"Pillow": _plain(files).__next__}
    for name, source in sources.items():
        for index in range(len(source)):
            source.read(index)
        runs[name] = training_batches(source, config).__next__
        runs[name]()
        source.seconds = 0.0
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in [*runs, *reversed(runs)]:
            seconds[name].append(_clock(runs[name]))
    plain = seconds["Pillow"]
    for name, times in seconds.items():
        line = f"  {name:22} {BATCH / statistics.median(times):7.1f}"
        if name in sources:
            ratio = statistics.median(a / b for a, b in zip(plain, times, strict=True))
            line += f"  {ratio:5.2f} × Pillow; reading {sources[name].seconds / sum(times):.0%}"
        print(line)


def _against_torch(folder: Path, files: list[tuple[Path, Path]], rounds: int) -> None:
    config = _config(folder, WORKERS)
    pack(files_in(folder, pairs=True), folder / "packed")

    def ours(where: str, room: int | None) -> Callable[[], Iterator[object]]:
        return lambda: training_batches(open_source(where, pairs=True, cache_bytes=room), config)

    kinds = {
        "DataLoader, PNG": lambda: _data_loader(files),
        "ours, PNG": ours(str(folder), 0),
        "ours, records": ours(f"tfds:{folder / 'packed'}", 0),
        "ours, kept in memory": ours(str(folder), None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, make in kinds.items():
            batches = make()
            for _ in range(_AHEAD):
                next(batches)
            begin = time.perf_counter()
            for _ in range(_BATCHES):
                next(batches)
            seconds[name].append(time.perf_counter() - begin)
            del batches
    peer = seconds["DataLoader, PNG"]
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(peer, times, strict=True))
        rate = _BATCHES * BATCH / statistics.median(times)
        print(f"  {name:22} {rate:7.1f}  {ratio:5.2f} × DataLoader")


def _data_loader(files: list[tuple[Path, Path]]) -> Iterator[object]:
    """Batches as PyTorch programs make them: Pillow, a random square, flips, float tensors."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Pairs(Dataset):
        def __len__(self) -> int:
            return _SAMPLES * len(files)

        def __getitem__(self, index: int) -> Any:
            rng = np.random.default_rng()
            left, top = int(rng.integers(WIDTH - PATCH + 1)), int(rng.integers(HEIGHT - PATCH + 1))
            turns, flipped = int(rng.integers(4)), bool(rng.integers(2))
            patches = []
            for path in files[index % len(files)]:
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                square = np.rot90(pixels[top : top + PATCH, left : left + PATCH], turns)
                square = square[:, ::-1] if flipped else square
                planes = torch.from_numpy(square.transpose(2, 0, 1).copy())
                patches.append(planes.float() / 255)
            return tuple(patches)

    return iter(DataLoader(Pairs(), BATCH, shuffle=True, num_workers=WORKERS))


def _plain(files: list[tuple[Path, Path]]) -> Iterator[list[NDArray[np.float32]]]:
    """Batches of input and target, read in the simplest way."""
    rng = np.random.default_rng(0)
    order = itertools.cycle(files)
    while True:
        patches = []
        for pair in itertools.islice(order, BATCH):
            left, top = int(rng.integers(WIDTH - PATCH + 1)), int(rng.integers(HEIGHT - PATCH + 1))
            box = left, top, left + PATCH, top + PATCH
            for path in pair:
                with Image.open(path) as image:
                    patches.append(np.asarray(image.convert("RGB").crop(box), np.float32) / 255)
        yield [np.stack(patches[side::2]) for side in (0, 1)]


def _clock(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


if __name__ == "__main__":
    sys.exit(main())
