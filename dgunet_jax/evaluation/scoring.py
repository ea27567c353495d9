"""Scoring the pictures of a data set, going on where an earlier run was stopped."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgunet_jax.errors import UserError
from dgunet_jax.evaluation.journal import FILE, Journal
from dgunet_jax.evaluation.measures import Scores, compare
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.restored import Result, Source
from dgunet_jax.evaluation.samples import Sample
from dgunet_jax.evaluation.showcase import Showcase
from dgunet_jax.images.picture import Picture, to_uint8
from dgunet_jax.images.writing import write
from dgunet_jax.restoration.files import ahead
from dgunet_jax.restoration.plan import pixels
from dgunet_jax.restoration.progress import Progress


def score(
    protocol: Protocol,
    samples: Sequence[Sample],
    source: Source,
    output: Path,
    identity: Mapping[str, Any],
    *,
    save_images: bool,
) -> tuple[list[tuple[str, Scores]], list[str], Showcase]:
    """Scores pictures; what fails is told, and the rest is done.

    Args:
      protocol: how.
      samples: which.
      source: who restores them.
      output: folder in which the scores are kept, and found by the next run.
      identity: all that the scores depend on besides the pictures' files; JSON values.
      save_images: whether to write the restored pictures to images/ in it, as PNG.

    Returns:
      Names and scores, in the order of `samples`; one line for each picture that failed; and the
      worst and best of the pictures that were scored now.

    Raises:
      UserError: the folder holds another evaluation, or cannot be written.
    """
    showcase, failures = Showcase(), []

    def image_path(sample: Sample) -> Path:
        return output / "images" / f"{sample.name}.png"

    def judge(result: Result) -> Scores:
        sample, restored = result
        if isinstance(restored, UserError):
            raise restored
        try:
            scores = compare(protocol, restored.image, restored.target)
        except UserError as error:
            raise UserError(f"{sample.files[0]}: {error}") from error
        if save_images:
            write(image_path(sample), Picture(to_uint8(restored.image)))
        return scores

    with contextlib.closing(Journal(output / FILE, identity)) as journal:
        known: dict[str, Scores] = {}
        for sample in samples:
            scores = journal.scores(sample.name, source.files(sample))
            if scores is not None and not (save_images and not image_path(sample).exists()):
                known[sample.name] = scores
        waiting = [sample for sample in samples if sample.name not in known]
        with Progress(len(waiting), sum(pixels(sample.size) for sample in waiting)) as progress:
            if known:
                progress.say(f"{len(known)} of {len(samples)} pictures are scored already")
            for (sample, restored), scores in ahead(judge, source.each(waiting, progress.say)):
                if isinstance(scores, UserError) or isinstance(restored, UserError):
                    failures.append(str(scores))
                    progress.advance(f"failed {sample.name}", pixels(sample.size))
                    continue
                journal.add(sample.name, source.files(sample), scores)
                known[sample.name] = scores
                showcase.show(scores, restored)
                line = f"{sample.name}: {scores.psnr:.3f} dB, SSIM {scores.ssim:.4f}"
                progress.advance(line, pixels(sample.size))
    scored = [(sample.name, known[sample.name]) for sample in samples if sample.name in known]
    return scored, failures, showcase
