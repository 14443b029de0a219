"""Docstrings, numbers and tables as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from diffolio.cli.listing import number

DIFFERENCES = ("paper and code", "where paper and code differ", "where the paper and", "what the code")


@dataclass(frozen=True)
class Block:
    """A paragraph of a docstring; ``equation``: it was indented, and its line breaks mean something."""

    text: str
    equation: bool = False

    @property
    def tells_differences(self) -> bool:
        return not self.equation and self.text.lower().startswith(DIFFERENCES)

    def markdown(self) -> str:
        if self.equation:
            return f"```text\n{self.text}\n```"
        return prose(self.text)


def blocks(docstring: str) -> list[Block]:
    """The paragraphs of a docstring; neighbouring indented ones are one equation."""
    found: list[Block] = []
    for part in re.split(r"\n\s*\n", docstring.strip("\n")):
        lines = part.split("\n")
        equation = all(line.startswith("    ") or not line for line in lines)
        text = "\n".join(line[4:] for line in lines) if equation else part
        if equation and found and found[-1].equation:
            found[-1] = Block(f"{found[-1].text}\n\n{text}", True)
        else:
            found.append(Block(text, equation))
    return found


def prose(text: str) -> str:
    """Plain text as Markdown: double backticks are code, a list gets the empty line that it needs, tags are no tags."""
    text = text.replace("``", "`")
    parts = re.split(r"(`[^`]*`)", text)
    text = "".join(part if part.startswith("`") else _escaped(part) for part in parts)
    return re.sub(r"(?m)^(?!- )(.+)\n(?=- )", r"\1\n\n", text, count=1)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "&#124;").replace("[", "&#91;")


def cell(value: Any) -> str:
    """Anything as one cell of a table."""
    return _escaped(str(value)).replace("\n", " ")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; cells are Markdown already (see ``cell``)."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def code(text: str) -> str:
    """Code as one cell of a table."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def figure(row: dict[str, Any]) -> str:
    """A measured row's figure with its interval."""
    low, high = row["interval"]
    interval = f" [{number(low)}, {number(high)}]" if low is not None else ""
    return number(row["ratio"]) + interval.replace("[", "&#91;")


def bar(row: dict[str, Any]) -> str:
    return "reported" if row["bar"] is None else row["bar"].replace("<=", "≤").replace(">=", "≥")


def verdict(holds: bool | None, stale: bool = False) -> str:
    """A word with a colour; the word alone says it too."""
    if holds is None:
        return ""
    mark = '<span class="holds">holds</span>' if holds else '<span class="fails">fails</span>'
    return mark + (' <span class="stale">stale</span>' if stale else "")


def attribute(text: str) -> str:
    """Text for an HTML attribute."""
    return html.escape(" ".join(text.split()), quote=True)


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(text.split())) if part.strip()]


def fence(language: str, code: str, title: str = "") -> str:
    head = f'```{language} title="{title}"' if title else f"```{language}"
    return f"{head}\n{code.strip()}\n```"
