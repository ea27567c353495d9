"""Reading, restoring and writing at the same time."""

import collections
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import jax
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dgunet_jax.images import (
    FORMATS,
    Header,
    Picture,
    captioned,
    check_writable,
    grey,
    must_be_read,
    read,
    read_header,
    side_by_side,
    write,
)
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.inputs import Found, Input, Job, find
from dgunet_jax.restoration.plan import Schedule, Sized, held_per_pixel
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.restoration.shapes import pixels
from dgunet_jax.system.errors import UserError, counted
from dgunet_jax.system.storage import PathLike, as_path
from dgunet_jax.system.terminal import Progress, clock, of_the_system, say

_THREADS = 2
_AHEAD = 4  # pictures that are decoded, or wait to be written, while others are restored
GAP = 8  # white pixels between pictures side by side

Item = TypeVar("Item")
Result = TypeVar("Result")
Content = TypeVar("Content")


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


def restore_files(
    restorer: Restorer, jobs: Sequence[Job], remark: str | None = None, strength: float = 1.0
) -> Outcome:
    """Restores every picture and writes it; what fails is told, and the rest is done.

    A model of one channel gets the luma, and grey pictures are written.

    Each file appears under its name only when it is complete. Grey pictures go through a colour
    model as three equal channels and come back as their mean; depth, alpha channel, colour profile
    and EXIF data are kept. A `remark` on how the pictures were made goes into the files. Written is
    input + `strength` · (restored − input).
    """
    channels, number = restorer.planner.config.channels, restorer.planner.config.num_stages
    stages = any(job.stages is not None for job in jobs)
    compare = any(job.compared is not None for job in jobs)
    held = held_per_pixel(number if stages else 1, number + 1 if stages else 1 + compare)
    schedule = restorer.schedule((job.size for job in jobs), held)
    order, too_large = schedule.arrange(jobs)
    failures = [f"{job.path}: {why}" for job, why in too_large]
    start, done = time.monotonic(), 0

    def read_job(job: Job) -> tuple[NDArray[np.float32], Picture]:
        picture = _read(job)
        if channels == 1:
            picture = grey(picture)
        picture = dataclasses.replace(picture, remark=remark)
        return picture.colours()[..., :channels], picture

    def write_job(result: tuple[Job, tuple[Picture, NDArray[np.float32]] | UserError]) -> None:
        _write(result, strength)

    with Progress(len(order), sum(pixels(job.size) for job in order)) as progress:
        results = (
            ahead(write_job, restored(restorer, schedule, turn, read_job, stages, progress.say))
            for turn in turns(restorer, schedule, order)
        )
        for (job, _), failure in chain.from_iterable(results):
            if isinstance(failure, UserError):
                failures.append(str(failure))
                progress.advance(f"failed {job.path}", pixels(job.size))
            else:
                done += 1
                progress.advance(f"wrote {job.restored}", pixels(job.size))
    seconds = time.monotonic() - start
    return Outcome(done, failures, len(schedule.buckets), schedule.waste, seconds)


def restored(
    restorer: Restorer,
    schedule: Schedule,
    turn: Iterable[Item],
    read: Callable[[Item], tuple[NDArray[np.float32], Content]],
    stages: bool = False,
    say: Callable[[str], None] = say,
) -> Iterator[tuple[Item, tuple[Content, NDArray[np.float32]] | UserError]]:
    """Restore the items of a turn, reading ahead of time.

    Args:
      turn: of `turns`.
      read: returns an item's image (H, W, C) and whatever goes with it.
      stages: whether all estimates are wanted.
      say: is told, in one line, what is compiled.

    Yields:
      An item, with what went with its image and the estimates, (K, H, W, C), or (1, H, W, C)
      without `stages`; or with the UserError that `read` raised.
    """
    contents: dict[Item, Content] = {}
    failures: list[tuple[Item, UserError]] = []

    def images() -> Iterator[tuple[Item, NDArray[np.float32]]]:
        for item, found in ahead(read, turn):
            if isinstance(found, UserError):
                failures.append((item, found))
            else:
                image, contents[item] = found
                yield item, image

    for item, estimates in restorer.each(images(), schedule, stages, say):
        yield item, (contents.pop(item), estimates)
    yield from failures


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


def _write(
    result: tuple[Job, tuple[Picture, NDArray[np.float32]] | UserError], strength: float
) -> None:
    """Write what is asked for of what `restored` yields; raise the UserError, if it is one."""
    job, found = result
    if isinstance(found, UserError):
        raise found
    picture, estimates = found
    estimates = np.broadcast_to(estimates, (*estimates.shape[:3], 3))
    restored = weakened(picture, estimates[-1], strength)
    try:
        if job.compared is not None:
            write(job.compared, _strip(picture, {"restored": restored}))
        if job.stages is not None:
            named = {f"x{k}": estimate for k, estimate in enumerate(estimates, 1)}
            write(job.stages, _strip(picture, named))
        # The last, so that a picture that exists has everything else too.
        write(job.restored, picture.with_colours(restored))
    except UserError as error:
        message = str(error)
        raise UserError(
            message
            if message.startswith(tuple(map(str, job.targets)))
            else f"{job.path}: {message}"
        ) from error


def weakened(
    picture: Picture, restored: NDArray[np.float32], strength: float
) -> NDArray[np.floating]:
    """Return input + `strength` · (restored − input), (H, W, 3).

    Args:
      picture: the input.
      restored: (H, W, 3); of strength 1 as it is.
      strength: 0 to 1.
    """
    if strength == 1:
        return restored
    given = picture.colours()
    return given + np.float32(strength) * (restored - given)


def _strip(picture: Picture, estimates: Mapping[str, NDArray[np.floating]]) -> Picture:
    """The picture as it was, then estimates, below their names; opaque."""
    named = {"input": picture} | {k: picture.with_colours(each) for k, each in estimates.items()}
    strip = side_by_side((captioned(each.pixels, name) for name, each in named.items()), GAP)
    return dataclasses.replace(picture, pixels=strip, alpha=None, exif=None, xmp=None)


Image = NDArray[Any] | jax.Array | PIL.Image.Image
Restored = NDArray[np.float32]


@overload
def restore(model: DGUNet, variables: Mapping[str, Any], images: Image) -> Restored: ...
@overload
def restore(
    model: DGUNet, variables: Mapping[str, Any], images: PathLike
) -> Restored | dict[Path, Restored]: ...
@overload
def restore(
    model: DGUNet, variables: Mapping[str, Any], images: Sequence[Image | PathLike]
) -> list[Restored]: ...
def restore(model, variables, images):
    """Restores an image, a picture file, a list of them or a folder, with few compilations.

    Tiles, several devices, the self-ensemble, many calls with the same weights and values as the
    network gives them: see `Restorer`. Files of every kind into files: the command
    `dgunet restore`.

    Args:
      images: an array (H, W, C), or (H, W) if it is grey, floating point with values in [0, 1], or
        of 8 or 16 unsigned bits; an image of Pillow; the path of a picture, read as RGB; a list of
        these; or a folder: the pictures in it and in its folders.

    Returns:
      For one image (H, W, C), float32, clipped to [0, 1]; (H, W) of an array of that shape and of a
      grey image of Pillow, the mean of the channels. For a list a list of them. For a folder a dict
      from the paths of its pictures, in the order of their names.

    Raises:
      UserError: an array of another shape or dtype, with values that are not finite or cannot be
        those of an image in [0, 1]; a file that cannot be read; a picture that does
        not fit into memory.
    """
    restorer = Restorer(model, variables)
    if isinstance(images, list | tuple):
        return _restore_all(restorer, images)
    if isinstance(images, str | os.PathLike) and as_path(images).is_dir():
        found, failures = find([images], output=None)
        pictures, unreadable, _ = sort_out(found)
        if failures + unreadable:
            raise UserError((failures + unreadable)[0])
        # Told before anything is decoded.
        for each, why in restorer.schedule(p.size for p in pictures).arrange(pictures)[1]:
            raise UserError(f"{each.path}: {why}")
        paths = [each.path for each in pictures]
        return dict(zip(paths, _restore_all(restorer, paths), strict=True))
    return _restore_all(restorer, [images])[0]


def _pixels(image: Any) -> NDArray[Any]:
    """Return an image as an array, (H, W) or (H, W, C), floating point unless it is refused."""
    if isinstance(image, str | os.PathLike):
        return read(image).colours()
    if isinstance(image, PIL.Image.Image):
        is_grey = image.mode in ("1", "L") or image.mode.startswith("I;16")
        image = image.convert("L") if image.mode == "1" else image
        image = image if is_grey else image.convert("RGB")
    array = np.asarray(image)
    if array.dtype in (np.uint8, np.uint16):
        return array / np.float32(np.iinfo(array.dtype).max)
    return array


def _restore_all(restorer: Restorer, images: Sequence[Any]) -> list[NDArray[np.float32]]:
    arrays, channels = [_pixels(image) for image in images], restorer.planner.config.channels
    wide = [np.repeat(a[..., None], channels, axis=2) if a.ndim == 2 else a for a in arrays]
    return [
        image.clip(0, 1).mean(axis=2) if array.ndim == 2 else image.clip(0, 1)
        for array, image in zip(arrays, _in_few_shapes(restorer, wide), strict=True)
    ]


def _in_few_shapes(restorer: Restorer, images: list[NDArray[np.floating]]) -> list[Restored]:
    for image in images:
        restorer.check(image)
        restorer.warn_of_range(image)
    schedule = restorer.schedule(image.shape[:2] for image in images)
    restored = dict(restorer.each(enumerate(images), schedule))
    return [restored[i][0] for i in range(len(images))]
