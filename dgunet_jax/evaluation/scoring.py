"""Scoring the pictures of a data set, going on where an earlier run was stopped."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from dgunet_jax.evaluation import protocols
from dgunet_jax.evaluation.journal import FILE, Journal
from dgunet_jax.evaluation.measures import Scores, compare
from dgunet_jax.evaluation.restored import Restored, Result, Source
from dgunet_jax.evaluation.samples import Sample
from dgunet_jax.evaluation.showcase import Showcase
from dgunet_jax.images.picture import Picture, to_uint8
from dgunet_jax.images.writing import write
from dgunet_jax.restoration.files import ahead
from dgunet_jax.restoration.plan import pixels
from dgunet_jax.restoration.progress import Progress
from dgunet_jax.system.errors import UserError, printable, reason


class Judge(Protocol):
    """What becomes of restored pictures."""

    def complete(self, sample: Sample) -> bool:
        """Whether all that is written of a picture is there."""
        ...

    def judge(self, restored: Restored) -> Scores | None:
        """The scores of a picture; None if nobody here can tell."""
        ...


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Pictures are compared with their targets, as a protocol says."""

    protocol: protocols.Protocol

    def complete(self, sample: Sample) -> bool:
        return True

    def judge(self, restored: Restored) -> Scores:
        if restored.target is None:
            raise UserError("there is no target")
        return compare(self.protocol, restored.image, restored.target)


def score(
    judge: Judge,
    samples: Sequence[Sample],
    source: Source,
    output: Path,
    identity: Mapping[str, Any],
    *,
    save_images: bool,
) -> tuple[list[tuple[str, Scores | None]], list[str], Showcase]:
    """Scores pictures; what fails is told, and the rest is done.

    Args:
      judge: who.
      samples: which.
      source: who restores them.
      output: folder in which the scores are kept, and found by the next run.
      identity: all that the scores depend on besides the pictures' files; JSON values.
      save_images: whether to write the restored pictures to images/ in it, as PNG. What is there of
        a picture that is scored again is removed.

    Returns:
      Names and scores, in the order of `samples`; one line for each picture that failed; and the
      worst and best of the pictures that were scored now.

    Raises:
      UserError: the folder holds another evaluation, or cannot be written.
    """
    showcase, failures = Showcase(), []

    def image_path(sample: Sample) -> Path:
        return output / "images" / f"{sample.name}.png"

    def scored(result: Result) -> Scores | None:
        sample, restored = result
        _remove(image_path(sample))  # of an earlier score
        if isinstance(restored, UserError):
            raise restored
        try:
            restored.check()
            scores = judge.judge(restored)
        except UserError as error:
            raise UserError(f"{sample.files[0]}: {error}") from error
        if save_images:
            write(image_path(sample), Picture(to_uint8(restored.image)))
        return scores

    with contextlib.closing(Journal(output / FILE, identity)) as journal:
        known: dict[str, Scores | None] = {}
        for sample in samples:
            written = judge.complete(sample) and (not save_images or image_path(sample).exists())
            if written and journal.holds(sample.name, source.files(sample)):
                known[sample.name] = journal.scores(sample.name)
        waiting = [sample for sample in samples if sample.name not in known]
        with Progress(len(waiting), sum(pixels(sample.size) for sample in waiting)) as progress:
            if known:
                progress.say(f"{len(known)} of {len(samples)} pictures are scored already")
            turns = source.turns(waiting)
            results = (source.each(turn, progress.say) for turn in turns)
            scored_turns = (ahead(scored, each) for each in results)
            for (sample, restored), scores in chain.from_iterable(scored_turns):
                if isinstance(scores, UserError) or isinstance(restored, UserError):
                    failures.append(printable(scores))
                    progress.advance(f"failed {sample.name}", pixels(sample.size))
                    continue
                journal.add(sample.name, source.files(sample), scores)
                known[sample.name] = scores
                line = sample.name
                if scores is not None:
                    showcase.show(scores, restored)
                    line = f"{sample.name}: {scores.psnr:.3f} dB, SSIM {scores.ssim:.4f}"
                progress.advance(line, pixels(sample.size))
    done = [(sample.name, known[sample.name]) for sample in samples if sample.name in known]
    return done, failures, showcase


def _remove(path: Path) -> None:
    """Removes a file, if there is one.

    Raises:
      UserError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {reason(error)}") from error
