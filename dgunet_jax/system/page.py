"""The HTML page of a report: one file that needs nothing else."""

import html
from collections.abc import Iterable

import jinja2

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
.note { color: #555; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #ddd; }
"""


def html_page(title: str, parts: Iterable[str], style: str = "", script: str = "") -> str:
    """The page.

    Args:
      title: of it, and its first heading.
      parts: of its body, HTML.
      style, script: of its own.
    """
    title = html.escape(title)
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        # A page from a file has no icon: without this, browsers look for one.
        f'<link rel=icon href="data:,"><title>{title}</title>'
        f"<style>{_STYLE}{style}</style></head><body>\n"
        + "\n".join([f"<h1>{title}</h1>", *filter(None, parts)])
        + (f"\n<script>{script}</script>" if script else "")
        + "\n</body></html>\n"
    )


def render(template: str, **values: object) -> str:
    """Return a page from `dgunet_jax/templates`; values are escaped.

    Args:
      template: name of the file, such as "analysis.html", which extends "base.html".
      values: what it shows; `title` among them.

    Raises:
      jinja2.UndefinedError: the template uses a value that is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dgunet_jax"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)
