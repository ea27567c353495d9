"""Compare networks of known operators with what needs no training; draw every shipped operator.

For each degradation: scaled Φᴴy, 30 steps of conjugate gradients, total variation (λ the best of a
few on training pictures), and the network, on the middle of held-out pictures. PSNR in dB, RGB,
clamped and not rounded, mean over the pictures. With `--own` each of the first four degradations
also has the network that was trained for it alone.

    python -m experiments.known --checkpoint any_operator --train BSDS500/train --test CBSD68 \
        --output runs/known
"""

import argparse
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import dgunet_jax
from dgunet_jax import Restorer
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.measurements import motion_blur, simulate
from dgunet_jax.data.sources import open_source
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.metrics import psnr
from dgunet_jax.operators import (
    Bayer,
    BlockSampling,
    Blur,
    DenseSampling,
    Downsample,
    Fourier,
    Identity,
    KnownOperator,
    LinearOperator,
    Mask,
    Radon,
    conjugate_gradient,
    total_variation,
)

SEEN = (
    "motion_blur(17, 5..15) | gaussian(2)",
    "mask(0.5) | gaussian(2)",
    "downsample(2) | gaussian(2)",
    "fourier(4) | gaussian(2)",
)
UNSEEN = (
    "motion_blur(25, 20..24) | gaussian(5)",
    "gaussian_blur(25, 3.5..4) | gaussian(2)",
    "mask(0.1) | gaussian(2)",
    "fourier(8) | gaussian(2)",
    "sampling(0.5) | gaussian(5)",
    "bayer | gaussian(2)",
)
WEIGHTS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SIDE = 240  # a multiple of what every operator needs
FIGURE_SIDE = 96
SHOWN = 3  # of the held-out pictures, in figures

Image = NDArray[np.float32]


class Scene(NamedTuple):
    """A clean picture, what was measured of it, by what, and the noise's σ in [0, 1]."""

    clean: Image
    y: Any
    operator: Any
    sigma: float


def scenes(folder: str, degradation: str, count: int) -> Iterator[Scene]:
    """Yield the middles of the first pictures of a folder, measured."""
    parsed, source = Degradation.parse(degradation), open_source(folder, pairs=False)
    side = SIDE // 32 * 32 if "sampling" in degradation else SIDE
    for index in range(min(count, len(source))):
        image = unit_range(source.read(index)[0])
        top, left = ((each - side) // 2 for each in image.shape[:2])
        clean = image[top : top + side, left : left + side]
        made = parsed.measure(clean.shape, np.random.default_rng([0, index]))
        yield measured(clean, made["operator"], made["sigma"], made["seed"])


def measured(clean: Image, operator: Any, sigma: Any, seed: Any) -> Scene:
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (clean, sigma, seed))
    batch = jax.tree.map(jnp.asarray, operator)
    y = simulate(batch, *arrays)
    return Scene(clean, y, batch, float(sigma) / 255)


@jax.jit
def adjoint(operator: KnownOperator, y: Any) -> jax.Array:
    return operator.start(y)


@jax.jit
def least_squares(operator: KnownOperator, y: Any) -> jax.Array:
    return conjugate_gradient(operator, y, 30)


@jax.jit
def variation(operator: KnownOperator, y: Any, weight: jax.Array) -> jax.Array:
    return total_variation(operator, y, weight)


def score(image: Any, clean: Image) -> float:
    return psnr(np.asarray(image).clip(0, 1), clean)


class Compared(NamedTuple):
    """Every method's mean PSNR, and their images of one scene."""

    scores: list[float]
    scene: Scene
    images: tuple[Any, ...]


def compared(
    restorers: Sequence[Restorer], degradation: str, train: str, test: str, count: int
) -> Compared:
    """Compare what needs no training and some networks."""
    tuning = [*scenes(train, degradation, 2)]

    def gained(weight: float) -> float:
        found = [variation(s.operator, s.y, jnp.asarray(weight)) for s in tuning]
        return sum(score(x[0], s.clean) for x, s in zip(found, tuning, strict=True))

    weight = jnp.asarray(max(WEIGHTS, key=gained))
    scores, shown = [], []
    for scene in scenes(test, degradation, count):
        clean, y, operator, _ = scene
        others = adjoint(operator, y), least_squares(operator, y), variation(operator, y, weight)
        networks = (restored(restorer, scene) for restorer in restorers)
        images = (*(each[0] for each in others), *networks)
        scores.append([score(image, clean) for image in images])
        shown.append((scene, images))
    return Compared(np.mean(scores, axis=0).tolist(), *shown[min(SHOWN, len(shown) - 1)])


def restored(restorer: Restorer, scene: Scene) -> Image:
    y = jax.tree.map(lambda leaf: np.asarray(leaf)[0], scene.y)
    noise = scene.sigma if restorer.planner.config.noise_input else None
    return restorer.measured(y, scene.operator, noise)


def table(rows: Iterable[tuple[str, Compared]]) -> str:
    """Return rows of Markdown; printed one by one, as they are there."""
    lines = [
        "| degradation | Φᴴy/‖Φ‖² | 30 CG | TV | network | over the best | its own network |",
        "|---|" + 6 * "---|",
    ]
    print("\n".join(lines), flush=True)
    for degradation, found in rows:
        *others, network = found.scores[:4]
        own = [f"{each:.2f} ({each - max(others):+.2f})" for each in found.scores[4:]] or [""]
        cells = [*(f"{each:.2f}" for each in (*others, network)), f"{network - max(others):+.2f}"]
        lines.append(f"| `{degradation}` | {' | '.join(cells + own)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def draw_compared(rows: Sequence[tuple[str, Compared]], path: Path) -> None:
    """Draw a scene of each degradation: as measured, as each method restores it, and clean."""
    figure = Figure(figsize=(10, 2.2 * len(rows)), layout="compressed")
    axes = figure.subplots(len(rows), 5, squeeze=False)
    names = "30 CG", "TV", "network"
    for row, (degradation, found) in zip(axes, rows, strict=True):
        clean = found.scene.clean
        cells = [(degradation.split(" |")[0], seen(found.scene.y))]
        for name, image in zip(names, found.images[1:4], strict=True):
            cells.append((f"{name}, {score(image, clean):.1f} dB", np.asarray(image).clip(0, 1)))
        for ax, (title, image) in zip(row, [*cells, ("clean", clean)], strict=True):
            ax.imshow(image)
            ax.set_title(title, fontsize=8)
            ax.axis("off")
    figure.savefig(path, dpi=110)


def shipped(rng: np.random.Generator, side: int) -> dict[str, Any]:
    """Every shipped operator for pictures of side × side pixels, by name."""
    half = (rng.random((side, side)) < 0.5).astype(np.float32)
    columns = np.broadcast_to(np.abs(np.fft.fftfreq(side)) < 0.15, (side, side))
    line = np.linspace(-1, 1, side, dtype=np.float32)
    coils = np.stack([np.exp(-((line - c) ** 2) + 1j * line[:, None]) for c in (-1, 1)])
    dense = rng.standard_normal((1500, 3 * (side // 4) ** 2)).astype(np.float32) / 60
    small = (side // 4, side // 4, 3)
    middle = Downsample(4)
    return {
        "Identity": Identity(),
        "Mask": Mask(half),
        "Blur": motion_blur(rng, (side, side, 3), 17, 13),
        "Blur, valid": Blur(np.ones((9, 9)) / 81, "valid"),
        "Downsample": Downsample(3, "bicubic"),
        "Bayer": Bayer(),
        "BlockSampling": BlockSampling.draw(0.25, 32, rng),
        "DenseSampling @ Downsample": DenseSampling(dense, small) @ middle,
        "Fourier": Fourier(columns.astype(np.float32)),
        "Fourier, 2 coils": Fourier(columns.astype(np.float32), coils.astype(np.complex64)),
        "Radon": Radon(np.linspace(0, np.pi, 60, endpoint=False), (side, side)),
        "LinearOperator": LinearOperator(lambda x: (x + x[:, :, ::-1]) / 2, (side, side, 3)),
    }


def seen(y: Any) -> Image:
    """A measurement as a picture."""
    values = np.asarray(y)[0]
    if np.iscomplexobj(values):
        values = np.log1p(20 * np.abs(np.fft.fftshift(values, axes=(-3, -2))))
        values = np.concatenate([*values], axis=1) if values.ndim == 4 else values
    if values.ndim == 1:
        side = int(np.sqrt(len(values)))
        values = values[: side * side].reshape(side, side, 1)
    if values.shape[-1] not in (1, 3):
        rows, columns, count = values.shape
        values = values.transpose(0, 2, 1).reshape(rows * count, columns)[..., None]
        values = np.repeat(values, max(1, rows * count // max(1, 4 * columns)), axis=1)
    low, high = values.min(), values.max()
    values = values.clip(0, 1) if low > -0.3 and high < 1.3 else (values - low) / (high - low)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def draw(restorer: Restorer, test: str, path: Path) -> None:
    """Draw y, Φᴴy and the result of every shipped operator."""
    source = open_source(test, pairs=False)
    image, rng = unit_range(source.read(SHOWN)[0]), np.random.default_rng(0)
    top, left = ((side - FIGURE_SIDE) // 2 for side in image.shape[:2])
    clean = image[top : top + FIGURE_SIDE, left : left + FIGURE_SIDE]
    operators = shipped(rng, FIGURE_SIDE)
    figure = Figure(figsize=(9, 1.75 * len(operators) / 2), layout="compressed")
    axes = figure.subplots((len(operators) + 1) // 2, 6, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for place, (name, operator) in enumerate(operators.items()):
        _, y, operator, sigma = measured(clean, operator, np.float32(2), np.uint32(place))
        result = restored(restorer, Scene(clean, y, operator, sigma))
        cells = axes[place // 2, 3 * (place % 2) : 3 * (place % 2) + 3]
        shown = (seen(y), np.asarray(adjoint(operator, y)[0]).clip(0, 1), result.clip(0, 1))
        titles = (f"{name}: y", "Φᴴy / ‖Φ‖²", f"result, {score(result, clean):.1f} dB")
        for ax, picture, title in zip(cells, shown, titles, strict=True):
            ax.imshow(picture)
            ax.set_title(title, fontsize=7)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = functools.partial(parser.add_argument, required=True)
    for name in ("--train", "--test", "--output"):
        add(name)
    add("--checkpoint")
    parser.add_argument("--own", nargs=len(SEEN), default=[], help="of the first four each")
    parser.add_argument("--count", type=int, default=20, help="of held-out pictures")
    options = parser.parse_args()
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    restorer, *own = (
        Restorer(*dgunet_jax.load(each)) for each in (options.checkpoint, *options.own)
    )
    where = options.train, options.test, options.count
    kept: list[tuple[str, Compared]] = []

    def rows(degradations: Sequence[str], own: Sequence[Restorer]) -> Iterator[Any]:
        for place, degradation in enumerate(degradations):
            restorers = [restorer, *own[place : place + 1]]
            kept.append((degradation, compared(restorers, degradation, *where)))
            yield kept[-1]

    text = [table(rows(SEEN, own)), table(rows(UNSEEN, ()))]
    (output / "known.md").write_text("\n\n".join(text) + "\n")
    draw_compared(kept[: len(SEEN)], output / "known.jpg")
    draw(restorer, options.test, output / "operators.jpg")


if __name__ == "__main__":
    main()
