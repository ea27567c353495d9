"""Tables of scores, for terminals, Markdown and LaTeX."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from dgunet_jax.system.files import replacing

# What LaTeX reads as commands, and letters that its usual fonts lack.
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "σ": r"$\sigma$",
    "×": r"$\times$",
    "–": "--",
}
_IN_LATEX = re.compile("|".join(map(re.escape, _LATEX)))


@dataclasses.dataclass(frozen=True)
class Table:
    """Lines of text in columns, the first of which has their labels.

    Attributes:
      title: what it shows.
      heads: of the columns; one that begins with a letter stands above numbers.
      lines: as many cells each.
      note: what must be known to read it.
    """

    title: str
    heads: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    note: str = ""

    def shortened(self) -> Self:
        """Return the table without columns that have nothing in them."""
        kept = [i for i in range(len(self.heads)) if any(line[i] for line in self.lines)]

        def cut(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(cells[i] for i in kept)

        return dataclasses.replace(
            self, heads=cut(self.heads), lines=[cut(line) for line in self.lines]
        )

    def text(self) -> str:
        """Return it for a terminal."""
        rows = [self.heads, *self.lines]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        body = [
            "  ".join(
                f"{cell:>{width}}" if head else f"{cell:{width}}"
                for cell, head, width in zip(row, self.heads, widths, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, *body, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """Return it in the Markdown of GitHub and Pandoc."""
        rules = tuple("--:" if head else "---" for head in self.heads)
        body = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
            for row in (self.heads, rules, *self.lines)
        ]
        return "\n".join([self.title, "", *body, *(["", self.note] if self.note else []), ""])

    def latex(self) -> str:
        """Return a table environment, which needs the package booktabs."""

        def row(cells: Sequence[str]) -> str:
            return " & ".join(map(_latex, cells)) + r" \\"

        columns = "".join("r" if head else "l" for head in self.heads)
        caption = " ".join(part for part in (self.title, self.note) if part)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(caption)}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                row(self.heads),
                r"\midrule",
                *map(row, self.lines),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def write(self, folder: Path) -> None:
        """Write table.md and table.tex."""
        for name, content in (("table.md", self.markdown()), ("table.tex", self.latex())):
            with replacing(folder / name) as file:
                file.write(content.encode())


def _latex(text: str) -> str:
    return _IN_LATEX.sub(lambda found: _LATEX[found[0]], text)
