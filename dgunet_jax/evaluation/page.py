"""How the report of an evaluation looks and what happens on a click."""

STYLE = """
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
.sortable th { cursor: pointer; user-select: none; }
.sortable th[aria-sort=ascending]::after { content: " \\25B2"; }
.sortable th[aria-sort=descending]::after { content: " \\25BC"; }
.ours { font-weight: 600; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; }
.strip figure { margin: 0; }
.strip img { width: 100%; image-rendering: auto; cursor: zoom-in; }
.strip.large { grid-template-columns: 1fr; }
.strip.large img { cursor: zoom-out; }
figcaption { color: #555; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .8rem; }
"""

SCRIPT = """
for (const head of document.querySelectorAll(".sortable th")) {
  head.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value;
    const number = head.classList.contains("number");
    const order = (a, b) => number ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b));
    const rows = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
    body.append(...rows);
  });
}
for (const strip of document.querySelectorAll(".strip"))
  strip.addEventListener("click", () => strip.classList.toggle("large"));
"""
