"""Pages of reports from templates: one HTML file that needs nothing else."""

import jinja2


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
