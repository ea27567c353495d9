"""Check what is to be released: python -m tests.distribution DIR

DIR holds one wheel and one sdist. Every line that is printed is a fault; the status is 1 then.
"""

import email
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax import __version__

ROOT = Path(__file__).parents[1]
_LARGEST = 20 * 2**20  # bytes; more should not be installed for nothing


def faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong, one line each."""
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        yield f"{folder}: holds {len(wheels)} wheels and {len(sdists)} sdists; it must be one each"
        return
    (wheel,), (sdist,) = wheels, sdists
    for path in (wheel, sdist):
        if f"-{__version__}" not in path.name:
            yield f"{path.name}: is not of version {__version__}"
        if path.stat().st_size > _LARGEST:
            yield f"{path.name}: has {path.stat().st_size} bytes"
    yield from _of_wheel(wheel)
    yield from _of_sdist(sdist)


def _of_wheel(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(info))
    shipped = {
        *(each.relative_to(ROOT).as_posix() for each in _shipped(ROOT / "dgunet_jax")),
        *(f"dgunet_jax/configs/{each.name}" for each in (ROOT / "configs").glob("*.py")),
    }
    held = {name for name in names if ".dist-info/" not in name}
    yield from (f"{path.name}: lacks {name}" for name in sorted(shipped - held))
    yield from (f"{path.name}: holds {name}" for name in sorted(held - shipped))
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield f"{path.name}: lacks the licence"
    card = (ROOT / "dgunet_jax/pretrained/README.md").read_text()
    for weights in (ROOT / "dgunet_jax/pretrained").glob("*.safetensors"):
        if f"## {weights.name}" not in card or "## Rights" not in card:
            yield f"{path.name}: the card says nothing of {weights.name}, or of its rights"
    for name in ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Keywords"):
        if not metadata[name]:
            yield f"{path.name}: has no {name}"
    text = str(metadata.get_payload())
    if not text.startswith("# dgunet_jax"):
        yield f"{path.name}: has no description"
    for link in re.findall(r"\]\((?!https?://)[^)]*\)", text):
        yield f"{path.name}: the description has the relative link {link}"


def _shipped(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _of_sdist(path: Path) -> Iterator[str]:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "Makefile", "constraints.txt", "configs/gopro.py", "tests/conftest.py",
                 "tests/golden/tiny.npz", "docs/results.md", "dgunet_jax/py.typed"):  # fmt: skip
        if name not in names:
            yield f"{path.name}: lacks {name}"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
