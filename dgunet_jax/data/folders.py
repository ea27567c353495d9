"""The files of a folder that are pictures."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dgunet_jax.errors import UserError, reason
from dgunet_jax.images.stored import ENDINGS


def is_picture(path: Path) -> bool:
    """Whether a file's ending is that of a picture format which is read."""
    return path.suffix.lower() in ENDINGS


def visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden files.

    Raises:
      UserError: it is no folder, or cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"{folder}: no such folder") from None
    except NotADirectoryError:
        raise UserError(f"{folder}: is no folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {reason(error)}") from error


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and in the folders in it, by path; links are followed.

    Hidden files and folders are left out, and files that are no pictures by their ending.

    Raises:
      UserError: there are none, or a folder cannot be read.
    """
    return files_below(folder)[0]


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """What `pictures_below` finds, and the files that it leaves out, without hidden ones.

    Raises:
      UserError: as `pictures_below`.
    """
    files = sorted(walk(folder))
    pictures = [path for path in files if is_picture(path)]
    if not pictures:
        raise no_pictures(folder)
    return pictures, [path for path in files if not is_picture(path)]


def no_pictures(folder: Path) -> UserError:
    """What is raised where a folder should hold pictures."""
    return UserError(f"{folder}: holds no pictures (their names end in {', '.join(ENDINGS)})")


def walk(
    folder: Path,
    left_out: Callable[[Path], bool] = lambda path: False,
    problems: list[str] | None = None,
) -> Iterator[Path]:
    """The files in a folder, by name, then those of the folders in it; links are followed.

    Hidden ones are left out.

    Args:
      left_out: folders in it that are not looked at.
      problems: gets one line for each folder that cannot be read; None: that is an error.

    Raises:
      UserError: a folder cannot be read.
    """
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        here, above = waiting.pop()
        real = os.path.realpath(here)
        if real in above:  # a link to a folder that it is in
            continue
        try:
            paths = visible(here)
        except UserError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        folders = dict.fromkeys(path for path in paths if path.is_dir())
        waiting += [(path, (*above, real)) for path in reversed(folders) if not left_out(path)]
        yield from (path for path in paths if path not in folders)
