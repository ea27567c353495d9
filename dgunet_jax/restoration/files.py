"""Restoring picture files: reading, restoring and writing at the same time."""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images.luma import grey
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.reading import Header, read, read_header
from dgunet_jax.images.recognising import must_be_read
from dgunet_jax.images.stored import FORMATS
from dgunet_jax.images.strips import side_by_side
from dgunet_jax.images.writing import check_writable, write
from dgunet_jax.restoration.inputs import Found, Input, Job
from dgunet_jax.restoration.memory import held_per_pixel
from dgunet_jax.restoration.plan import pixels
from dgunet_jax.restoration.planner import Schedule, Sized
from dgunet_jax.restoration.progress import Progress, clock
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.errors import UserError, counted
from dgunet_jax.system.terminal import of_the_system

_THREADS = 2
_AHEAD = 4  # pictures that are decoded, or wait to be written, while others are restored
_GAP = 8  # white pixels between pictures side by side

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a number of pictures.

    Attributes:
      restored: how many were restored and written.
      failures: one line for each that was not.
      shapes: compiled shapes used.
      waste: pixels computed for nothing, as a fraction of the pictures'.
      seconds: from the first picture to the last.
    """

    restored: int
    failures: list[str]
    shapes: int
    waste: float
    seconds: float

    def summary(self) -> str:
        line = f"restored {counted(self.restored, 'picture')} in {clock(self.seconds)}"
        if self.restored:
            shapes = counted(self.shapes, "compiled shape")
            line += f" ({shapes}, padding {self.waste:.0%} of the pixels)"
        return f"{line}; {len(self.failures)} failed" if self.failures else line


def sort_out(found: Sequence[Found]) -> tuple[list[Input], list[str], list[str]]:
    """Sorts out what cannot be restored, without decoding.

    Returns:
      The pictures; one line for each that cannot be read and is a picture, by its content or its
      name, or was named, and one if nothing could be read at all; and the files that were found in
      a folder and are not pictures.
    """
    good, failures, others = [], [], []
    for each, header in ahead(_header, found):
        if isinstance(header, Header):
            good.append(Input(each.path, each.place, (header.height, header.width)))
        elif each.meant or must_be_read(each.path, header):
            failures.append(str(header))
        else:
            others.append(str(each.path))
    if others and not good and not failures:
        failures.append(f"none of the files found is a picture ({', '.join(FORMATS)} are read)")
    return good, failures, others


def restore_files(restorer: Restorer, jobs: Sequence[Job], remark: str | None = None) -> Outcome:
    """Restores every picture and writes it; what fails is told, and the rest is done.

    A model of one channel gets the luma, and grey pictures are written.

    Each file appears under its name only when it is complete. Grey pictures go through a colour
    model as three equal channels and come back as their mean; depth, alpha channel, colour profile
    and EXIF data are kept. A `remark` on how the pictures were made goes into the files.
    """
    channels, number = restorer.planner.config.channels, restorer.planner.config.num_stages
    stages = any(job.stages is not None for job in jobs)
    compare = any(job.compared is not None for job in jobs)
    held = held_per_pixel(number if stages else 1, number + 1 if stages else 1 + compare)
    schedule = restorer.schedule((job.size for job in jobs), held)
    order, too_large = schedule.arrange(jobs)
    failures = [f"{job.path}: {why}" for job, why in too_large]
    read_pictures: dict[Job, Picture] = {}
    start, restored = time.monotonic(), 0

    with Progress(len(order), sum(pixels(job.size) for job in order)) as progress:

        def images(turn: list[Job]) -> Iterator[tuple[Job, NDArray[np.float32]]]:
            for job, picture in ahead(_read, turn):
                if isinstance(picture, Picture):
                    if channels == 1:
                        picture = grey(picture)
                    read_pictures[job] = dataclasses.replace(picture, remark=remark)
                    yield job, picture.colours()[..., :channels]
                else:
                    failures.append(str(picture))
                    progress.advance(f"failed {job.path}", pixels(job.size))

        def results(turn: list[Job]) -> Iterator[tuple[Job, Picture, NDArray[np.float32]]]:
            for job, estimates in restorer.each(images(turn), schedule, stages, progress.say):
                yield job, read_pictures.pop(job), estimates

        def written(turn: list[Job]) -> Iterator[tuple[Job, UserError | None]]:
            for (job, _, _), error in ahead(_write, results(turn)):
                yield job, error

        for job, error in chain.from_iterable(map(written, turns(restorer, schedule, order))):
            if isinstance(error, UserError):
                failures.append(str(error))
                progress.advance(f"failed {job.path}", pixels(job.size))
            else:
                restored += 1
                progress.advance(f"wrote {job.restored}", pixels(job.size))
    seconds = time.monotonic() - start
    return Outcome(restored, failures, len(schedule.buckets), schedule.waste, seconds)


def turns(restorer: Restorer, schedule: Schedule, items: Iterable[Sized]) -> Iterator[list[Sized]]:
    """Yield pictures in turns, so that those that are in memory together fit into it.

    A picture is in memory from when it is read, ahead of time, until it is written. A turn ends
    when all of its pictures have been. Pictures that are small beside the memory have one turn.

    Args:
      schedule: has plans for all of them.
      items: as `Schedule.arrange` orders them.
    """
    turn: list[Sized] = []
    held, room, most = 0, math.inf, 0
    for item in items:
        plan = schedule.plans[item.size]
        batch = schedule.buckets[plan.bucket]
        planner = restorer.planner
        computed = batch * planner.at_once(plan.bucket, batch, plan.held)
        held = max(held, plan.held)
        room = min(room, planner.room(plan.bucket, batch, plan.held))
        most = max(most, 2 * (_AHEAD + 2) + 2 * computed)
        if turn and held * min(len(turn) + 1, most) > room:
            yield turn
            turn = []
            held, room = plan.held, planner.room(plan.bucket, batch, plan.held)
        turn.append(item)
    if turn:
        yield turn


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result | UserError]]:
    """`function` of every item, some ahead of time in other threads, in order.

    A UserError becomes its result, and so does what the system refuses, as a full disk.
    """
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()

    def result(future: Future[Result]) -> Result | UserError:
        try:
            return future.result()
        except UserError as error:
            return error
        except OSError as error:
            if error.errno is None:  # not the system's, but a library's
                raise
            return UserError(of_the_system(error))

    pool = ThreadPoolExecutor(_THREADS)
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            while waiting and (len(waiting) > _AHEAD or waiting[0][1].done()):
                item, future = waiting.popleft()
                yield item, result(future)
        while waiting:
            item, future = waiting.popleft()
            yield item, result(future)
    finally:
        pool.shutdown(cancel_futures=True)


def _header(found: Found) -> Header:
    return read_header(found.path)


def _read(job: Job) -> Picture:
    picture = read(job.path)
    try:  # now, rather than when the work is done
        check_writable(job.restored.suffix, picture)
    except UserError as error:
        raise UserError(f"{job.path}: {error}; choose another format") from error
    return picture


def _write(result: tuple[Job, Picture, NDArray[np.float32]]) -> None:
    """Writes what is asked for; (K, H, W, C) estimates, or (1, H, W, C) with only the last."""
    job, picture, estimates = result
    estimates = np.broadcast_to(estimates, (*estimates.shape[:3], 3))
    try:
        if job.compared is not None:
            write(job.compared, _strip(picture, estimates[-1:]))
        if job.stages is not None:
            write(job.stages, _strip(picture, estimates))
        # The last, so that a picture that exists has everything else too.
        write(job.restored, picture.with_colours(estimates[-1]))
    except UserError as error:
        message = str(error)
        raise UserError(
            message
            if message.startswith(tuple(map(str, job.targets)))
            else f"{job.path}: {message}"
        ) from error


def _strip(picture: Picture, estimates: Iterable[NDArray[np.float32]]) -> Picture:
    """The picture as it was, then estimates; opaque."""
    images = [picture, *map(picture.with_colours, estimates)]
    strip = side_by_side((image.pixels for image in images), _GAP)
    return dataclasses.replace(picture, pixels=strip, alpha=None, exif=None)
