"""What was measured on an accelerator: rows, and the table of them as Markdown and JSON."""

import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dgunet_jax.system.files import replacing

State = Literal["ok", "red", "failed", "skipped"]

_LEGEND = """\
Seconds: median of rounds of several calls after warm-up. TFLOP/s: convolutions and matrix products
of the network, without anything computed twice, over the seconds; of product: as a part of the
matrix product's in the same precision. TB/s: bytes that XLA says the compiled program reads and
writes (of a loop's body, times its length, by the share of the work), over the seconds; of copy: as
a part of the copy's, 1 being the floor. × PyTorch: seconds of the fastest peer at the same work and
precision over these, more than 1 being faster. Memory: of the compiled program, arguments, results
and temporaries; of PyTorch, the most allocated. float32: full precision; default: the platform's
for float32, TF32 on a GPU; bfloat16: features in bfloat16, of PyTorch under autocast.
"""
_COLUMNS = {  # the heading of each number, its name in the JSON, and its form
    "s": ("seconds", ".4g"),
    "TFLOP/s": ("tflop_per_second", ".4g"),
    "of product": ("of_product", ".3f"),
    "TB/s": ("tb_per_second", ".4g"),
    "of copy": ("of_copy", ".3f"),
    "× PyTorch": ("over_peer", ".3f"),
    "memory GB": ("memory_gb", ".3f"),
    "compile s": ("compile_seconds", ".1f"),
}
_WORDS = ("section", "name", "precision", "state")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; None where something is not known.

    Attributes:
      section: "exactness", "ceiling", "compiling", "ours" or "peer".
      name: of what was done.
      precision: "float32", "default" or "bfloat16", see the table's legend.
      state: `red` is wrong, `failed` could not be done, `skipped` was not tried.
      note: errors of what is exact, and why something failed or was skipped.
      work: what is computed, the same for ours and the peer.
      seconds: median of a call.
      rounds: seconds of a call, of each round.
      gflop, gigabytes: of a call, 10⁹.
      memory_gb: the most that is held, 10⁹ bytes.
      compile_seconds: tracing and compilation; of the peer, its first call.
      wall_seconds: of all that the row took.
      errors: by name.
      kernels: of the compiled program: targets of custom calls, kinds of fusions and layouts of
        convolutions, with their number; the body of a loop counts once.
    """

    section: str
    name: str
    precision: str = ""
    state: State = "ok"
    note: str = ""
    work: str = ""
    seconds: float | None = None
    rounds: list[float] = dataclasses.field(default_factory=list)
    gflop: float | None = None
    gigabytes: float | None = None
    memory_gb: float | None = None
    compile_seconds: float | None = None
    wall_seconds: float | None = None
    errors: dict[str, float] = dataclasses.field(default_factory=dict)
    kernels: dict[str, int] = dataclasses.field(default_factory=dict)


class Table:
    """Rows and a header in `folder`, as figures.json and table.md, written after every row.

    Args:
      folder: an existing one.
      header: of the machine, its software and the run.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        self._folder, self.header = folder, dict(header)
        self.rows: list[Row] = []
        self._write()

    def add(self, row: Row) -> None:
        """Add a row and rewrite both files, each of which is always whole.

        Raises:
          UserError: they cannot be written.
        """
        self.rows.append(row)
        self._write()

    def _write(self) -> None:
        records = [dataclasses.asdict(row) | self._derived(row) for row in self.rows]
        content = {"header": self.header, "rows": records}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, written in (("figures.json", text), ("table.md", self._markdown(records))):
            with replacing(self._folder / name) as file:
                file.write(written.encode())

    def _derived(self, row: Row) -> dict[str, float | None]:
        """Return the rates of a row, and what they are of those of the machine and the peer."""
        # Only ours counts operations; the peer does the same work.
        counted = row if row.gflop else self._first("gflop", section="ours", work=row.work)
        rate = _rate(counted and counted.gflop, row.seconds)
        traffic = _rate(row.gigabytes, row.seconds)
        product = self._ceiling("gflop", precision=row.precision)
        copy = self._ceiling("gigabytes")
        peers = [
            peer.seconds
            for peer in self.rows
            if (peer.section, peer.work, peer.precision) == ("peer", row.work, row.precision)
            and peer.seconds
        ]
        measured = row.section in ("ours", "peer")
        return {
            "tflop_per_second": rate,
            "of_product": _over(rate, product) if measured else None,
            "tb_per_second": traffic,
            "of_copy": _over(traffic, copy) if measured else None,
            "over_peer": _over(min(peers, default=None), row.seconds)
            if row.section == "ours"
            else None,
        }

    def _first(self, name: str, **wanted: str) -> Row | None:
        """Return the first row that has a value, and all that is wanted."""
        for row in self.rows:
            if getattr(row, name) and all(getattr(row, key) == wanted[key] for key in wanted):
                return row
        return None

    def _ceiling(self, name: str, **wanted: str) -> float | None:
        """Return the machine's rate in 10¹² per second."""
        row = self._first(name, section="ceiling", **wanted)
        return row and _rate(getattr(row, name), row.seconds)

    def _markdown(self, records: list[dict[str, Any]]) -> str:
        title = "# dgunet_jax on an accelerator"
        if self.header.get("tiny"):
            title += " — tiny networks and images: the times say nothing about the real ones"
        lines = [title, ""]
        lines += [f"* {name}: {_clean(value)}" for name, value in self.header.items()]
        lines += ["", *_LEGEND.splitlines(), ""]
        headings = [*_WORDS, *_COLUMNS, "note"]
        lines += [_line(headings), _line(["---"] * len(headings))]
        for record in records:
            numbers = [_cell(record[name], form) for name, form in _COLUMNS.values()]
            words = [_clean(record[name]) for name in _WORDS]
            lines.append(_line([*words, *numbers, _clean(record["note"])]))
        for record in records:
            if record["kernels"]:
                found = ", ".join(f"{name} × {n}" for name, n in record["kernels"].items())
                lines += ["", f"Kernels of {record['name']}, {record['precision']}: {found}"]
        return "\n".join(lines) + "\n"


def median(rounds: list[float]) -> dict[str, Any]:
    """Return the fields of a row that tell its times."""
    return {"seconds": statistics.median(rounds), "rounds": rounds}


def _rate(billions: float | None, seconds: float | None) -> float | None:
    """Return 10¹² per second."""
    return _over(billions, seconds and 1e3 * seconds)


def _over(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _clean(value: object) -> str:
    return " ".join(str(value).replace("|", "/").split())


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
