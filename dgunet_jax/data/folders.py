"""The files of a folder that are pictures."""

import os
from collections.abc import Iterator
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
    files = list(_walk(folder, ()))
    pictures = [path for path in files if is_picture(path)]
    if not pictures:
        raise no_pictures(folder)
    return pictures, [path for path in files if not is_picture(path)]


def no_pictures(folder: Path) -> UserError:
    """What is raised where a folder should hold pictures."""
    return UserError(f"{folder}: holds no pictures (their names end in {', '.join(ENDINGS)})")


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it is in
        return
    for path in visible(folder):
        if path.is_dir():
            yield from _walk(path, (*above, real))
        else:
            yield path
