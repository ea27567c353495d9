"""Fit the pages to the site: add the changes, and unlink what is not part of it."""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


def on_files(files: Any, config: Any) -> None:
    """Add CHANGELOG.md as a page."""
    files.append(File.generated(config, "changes.md", abs_src_path="CHANGELOG.md"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files outside of docs/ by their text and the file's path as code."""
    folder = posixpath.dirname(page.file.src_uri)

    def unlinked(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if not target.startswith("../"):
            return link[0]
        path = target.removeprefix("../")
        text = link[1].strip("`")
        return f"`{text}`" if path in text else f"{text} (`{path}`)"

    return _LINK.sub(unlinked, markdown)
