"""Put the recorded claims of all methods into the README's table.

python benchmarks/readme_table.py
"""

from __future__ import annotations

import re
from pathlib import Path

from diffolio.claims import rows
from diffolio.claims.evidence import MINIATURES
from diffolio.cli.listing import number

README = Path(__file__).parents[1] / "README.md"
HEAD = [
    "| method | measured | paper says | baseline | ours | ratio [95%] | bar | holds |",
    "|---|---|---|---|---|---|---|---|",
]


def line(row: dict) -> str:
    """One claim as a row of the table."""
    low, high = row["interval"]
    interval = f" [{number(low)}, {number(high)}]" if low is not None else ""
    holds = ("yes" if row["holds"] else "no") + (" (stale)" if row["stale"] else "")
    bar = row["bar"].replace("<=", "≤").replace(">=", "≥")
    metric = row["metric"].replace("|", "&#124;")
    baseline = "" if row["baseline"] is None else number(row["baseline"])
    cells = (f"`{row['method']}`", metric, row["paper_says"], baseline, number(row["value"]),
             number(row["ratio"]) + interval, bar, holds)  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    table = "\n".join([*HEAD, *(line(row) for row in rows() if row["family"] != MINIATURES)])
    text = README.read_text(encoding="utf-8")
    fresh, found = re.subn(r"\| method \| measured.*?\n\n", lambda _: table + "\n\n", text, flags=re.S)
    if found != 1:
        raise SystemExit("the README has no table of claims to replace")
    README.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
