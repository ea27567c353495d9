"""Run the tutorials while the site is built, and show what they print and draw.

Every `python` and `sh` block of a page in tutorials/ is run by markdown-exec, in order, in a folder
that is the page's own and empty at first. Python blocks of a page share their variables. A block
with a title is a file of that name: it is written, not run. A block that fails, or warns, is a
warning of MkDocs, which --strict makes an error.

`<!-- pictures: noisy.png: noisy | restored.png: restored -->` shows pictures that blocks have
written, side by side, each with its caption.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from PIL import Image

_FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(python|sh)$", re.MULTILINE)
_PICTURES = re.compile(r"<!-- pictures: (.+?) -->")
_NOTHING = re.compile(
    r'<div class="result">\s*<div class="highlight"><pre><span></span><code>\s*</code></pre></div>'
    r"\s*</div>"
)
_QUALITY = 90  # of WebP

_root = tempfile.TemporaryDirectory(prefix="tutorials-")
_errors = contextlib.ExitStack()


def on_startup(**_: Any) -> None:
    """Give the blocks the commands of this environment, and the same platform everywhere."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["PYTHONWARNINGS"] = "error"
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(_root.name, "compiled"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str | None:
    """Mark the blocks of a tutorial for markdown-exec."""
    if not _is_tutorial(page):
        return None
    page.meta["folder"] = folder = tempfile.mkdtemp(dir=_root.name)
    for name, content in _FILE.findall(markdown):
        Path(folder, name).write_text(content)
    _errors.enter_context(warnings.catch_warnings(action="error"))
    options = f'exec="on" source="block" result="text" session="{folder}" workdir="{folder}"'
    return _BLOCK.sub(rf"```\1 {options}", markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str | None:
    """Put the pictures of a tutorial, which has run by now, into the site."""
    if not _is_tutorial(page):
        return None
    _errors.close()

    def pictures(comment: re.Match[str]) -> str:
        shown = (each.partition(":") for each in comment[1].split("|"))
        figures = (
            _figure(page, config, files, name.strip(), caption.strip())
            for name, _, caption in shown
        )
        return f'<div class="pictures">{"".join(figures)}</div>'

    return _PICTURES.sub(pictures, _NOTHING.sub("", html))


def _is_tutorial(page: Any) -> bool:
    return page.file.src_uri.startswith("tutorials/")


def _figure(page: Any, config: Any, files: Any, name: str, caption: str) -> str:
    """Add a picture that a block has written to the site; return the HTML that shows it.

    Raises:
      PluginError: there is no such picture.
    """
    path = Path(page.meta["folder"], name)
    if not path.is_file():
        raise PluginError(f"{page.file.src_uri}: its blocks have written no {name}")
    encoded = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(encoded, "WEBP", quality=_QUALITY, method=6)
        width, height = picture.size
    uri = f"{page.file.src_uri.removesuffix('.md')}/{Path(name).stem}.webp"
    file = File.generated(config, uri, content=encoded.getvalue())
    files.append(file)
    text = escape(caption)
    source = f'src="{file.url_relative_to(page.file)}" width="{width}" height="{height}"'
    return f'<figure><img {source} alt="{text}"><figcaption>{text}</figcaption></figure>'
