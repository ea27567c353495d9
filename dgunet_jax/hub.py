"""Networks on the Hugging Face Hub, or what answers as it does (`HF_ENDPOINT`).

A repository holds a network as `model.safetensors`, in this project's format, and a card.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dgunet_jax.about import About
from dgunet_jax.system.errors import UserError, one_line

SCHEME = "hf://"
NAME = "model.safetensors"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/\s]+))?(?:/(.+))?")
_DIGESTS = {40: "sha1", 64: "sha256"}  # of git and of its large files, by their hexadecimal digits
# Those of the library, by their types, are several sentences.
_REASONS = {
    "RepositoryNotFoundError": "there is no such repository, or it is not yours to read",
    "RevisionNotFoundError": "the repository has no such revision",
    "LocalEntryNotFoundError": "the Hub cannot be reached, and there is no copy here",
    "EntryNotFoundError": "the repository has no such file",
}


class Address(NamedTuple):
    """Where a network lies: hf://OWNER/NAME[@REVISION][/FILE].

    Attributes:
      repository: OWNER/NAME.
      revision: a branch, a tag or a commit; None: the main branch.
      file: its name in the repository.
    """

    repository: str
    revision: str | None
    file: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address.

        Raises:
          UserError: it is something else.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise UserError(f"{text}: must be hf://OWNER/NAME, hf://OWNER/NAME@REVISION or a file")
        return cls(found[1], found[2], found[3] or NAME)


def download(text: str) -> Path:
    """Return a copy of a network's file, which is kept in the Hub's cache.

    What is there already is not downloaded again, and is taken as it is where there is no
    connection. A download that is cut off goes on. The content must have the checksum that the Hub
    gives it.

    Args:
      text: an `Address`.

    Raises:
      UserError: there is no such file, it may not be read, or its content is not what it should be.
    """
    address = Address.parse(text)
    with _told(text):
        hub = _library()
        path = Path(
            hub.hf_hub_download(address.repository, address.file, revision=address.revision)
        )
    _check(text, path.resolve())
    return path


def _check(text: str, path: Path) -> None:
    """Compare a file with its checksum, which is its name in the cache."""
    algorithm = _DIGESTS.get(len(path.name))
    if algorithm is None:
        return
    content = path.read_bytes()
    digest = hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "sha1":
        digest.update(b"blob %d\0" % len(content))
    digest.update(content)
    if digest.hexdigest() != path.name:
        path.unlink()
        raise UserError(f"{text}: is damaged: its checksum is not {path.name}; load it again")


def push(path: Path, repository: str, about: About) -> str:
    """Copy a safetensors file to a repository, which is created if it does not exist.

    A repository that has no card gets one.

    Args:
      path: the file.
      repository: OWNER/NAME, which the token of `hf auth login`, or `HF_TOKEN`, may write to.
      about: what the card says.

    Returns:
      The address of the commit.

    Raises:
      UserError: it cannot be written to.
    """
    address = Address.parse(f"{SCHEME}{repository.removeprefix(SCHEME)}")
    if address.revision is not None or address.file != NAME:
        raise UserError(f"{repository}: must be OWNER/NAME to be written to")
    with _told(repository):
        hub = _library()
        api = hub.HfApi()
        api.create_repo(address.repository, exist_ok=True)
        files = [hub.CommitOperationAdd(NAME, str(path))]
        if not api.file_exists(address.repository, "README.md"):
            card = _card(address.repository, about).encode()
            files.append(hub.CommitOperationAdd("README.md", card))
        made = api.create_commit(address.repository, files, commit_message=f"Add {NAME}")
        return made.commit_url


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError('the Hub needs pip install "dgunet_jax[hub]"') from error
    return huggingface_hub


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn whatever the library raises into one line that names `what`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except Exception as error:  # of the library, of what it connects by, and of the system
        names = [kind.__name__ for kind in type(error).__mro__]
        reason = next((_REASONS[name] for name in names if name in _REASONS), one_line(error))
        raise UserError(f"{what}: {reason}") from error


def _card(repository: str, about: About) -> str:
    """Return a card as the Hub reads it."""
    lines = "\n".join(f"* {line}" for line in about.lines())
    return f"""---
library_name: dgunet_jax
pipeline_tag: image-to-image
tags: [image-restoration, deep-unfolding]
---

# {repository.partition("/")[2]}

A DGUNet for [JAX](https://docs.jax.dev), read by `dgunet_jax`:

    dgunet restore --checkpoint {SCHEME}{repository} photo.jpg

```python
model, variables = dgunet_jax.load("{SCHEME}{repository}")
```

{lines}
"""
