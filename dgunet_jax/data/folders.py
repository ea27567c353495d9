"""The files of a folder that are pictures."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dgunet_jax.images import ENDINGS
from dgunet_jax.system.errors import UserError, listed, reason
from dgunet_jax.system.storage import is_remote


def is_picture(path: Path) -> bool:
    """Return whether a file's ending is that of a picture format which is read."""
    return path.suffix.lower() in ENDINGS


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder or a link to one.

    Raises:
      UserError: the system does not tell, as where the folder it is in may not be entered.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error


def same(path: Path, other: Path) -> bool:
    """Return whether two paths lead to one file or folder, which exists."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def lies_in(path: Path, folder: Path) -> bool:
    """Return whether a path, which need not exist, is a folder or in it, whatever it is called."""
    place = real(path)
    return any(same(each, folder) for each in (place, *place.parents))


def real(path: Path) -> Path:
    """Return a path, which need not exist, with links followed; remote storage has none."""
    return path if is_remote(path) else Path(os.path.realpath(path))


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden files.

    Raises:
      UserError: it is not a folder, or cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"{folder}: no such folder") from None
    except NotADirectoryError:
        raise UserError(f"{folder}: not a directory") from None
    except OSError as error:
        raise _unreadable(folder, error) from error


def pictures_below(folder: Path) -> list[Path]:
    """Return all pictures in a folder and in the folders in it, by path; links are followed.

    Hidden files and folders are left out, and files that are not pictures by their ending.

    Raises:
      UserError: there are none; or, in one line, all that cannot be read.
    """
    problems: list[str] = []
    pictures, _ = files_below(folder, problems)
    if problems:
        count = f"{folder}: cannot be read ({len(problems)}): " if len(problems) > 1 else ""
        raise UserError(count + listed(problems))
    return pictures


def files_below(folder: Path, problems: list[str]) -> tuple[list[Path], list[Path]]:
    """Return what `pictures_below` finds, and the files that it leaves out, without hidden ones.

    Args:
      folder: where.
      problems: gets one line for each folder or link that cannot be read.

    Raises:
      UserError: there are no pictures, or the folder itself cannot be read.
    """
    visible(folder)
    files = sorted(walk(folder, problems))
    pictures = [path for path in files if is_picture(path)]
    if not (pictures or problems):
        raise no_pictures(folder)
    return pictures, [path for path in files if not is_picture(path)]


def no_pictures(folder: Path) -> UserError:
    """Return what is raised where a folder should hold pictures."""
    return UserError(f"{folder}: holds no pictures (their names end in {', '.join(ENDINGS)})")


def walk(
    folder: Path,
    problems: list[str],
    left_out: Callable[[Path], bool] = lambda path: False,
    seen: set[tuple[int, int]] | None = None,
) -> Iterator[Path]:
    """Return the files in a folder, by name, then those of the folders in it.

    What is hidden is left out. The arguments are those of `folders`.
    """
    for _, files in folders(folder, problems, left_out, seen):
        yield from files


def folders(
    folder: Path,
    problems: list[str],
    left_out: Callable[[Path], bool] = lambda path: False,
    seen: set[tuple[int, int]] | None = None,
) -> Iterator[tuple[Path, list[Path]]]:
    """Return a folder and the folders in it, at any depth, with the files of each.

    Links are followed, and each real folder comes once: under its own path, if it lies in `folder`.
    What is hidden is left out.

    Args:
      folder: where to begin.
      problems: gets one line for each folder that cannot be read and each link that leads nowhere;
        not for links with the name of a picture, which are among the files.
      left_out: folders in it that are not looked at.
      seen: real folders that have come before, by device and number; those that come are added.
    """
    seen = set() if seen is None else seen
    waiting, links = [folder], []
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        try:
            status = here.stat()
            if (real := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(real)
            files, inner = _divided(visible(here), problems)
        except UserError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(str(_unreadable(here, error)))
            continue
        yield here, files
        inner = [path for path in inner if not left_out(path)]
        links += [path for path in inner if path.is_symlink()]
        waiting += [path for path in reversed(inner) if not path.is_symlink()]


def _divided(paths: Sequence[Path], problems: list[str]) -> tuple[list[Path], list[Path]]:
    """Which of these are files, and which are folders."""
    files, inner = [], []
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if is_picture(path):
                files.append(path)  # reading it will tell
            else:
                problems.append(str(_unreadable(path, error)))
            continue
        if stat.S_ISDIR(mode):
            inner.append(path)
        elif stat.S_ISREG(mode):
            files.append(path)
        else:  # a pipe, say, which would be waited for
            problems.append(f"{path}: neither a file nor a folder")
    return files, inner


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read: {reason(error)}")
