"""Fenced code blocks of a page, with what their first line says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", flags=re.S | re.M)


@dataclass(frozen=True)
class Block:
    """``language`` of the fence, ``mark`` what follows it ("needs-network", a title, or nothing), and the code."""

    page: Path
    line: int
    language: str
    mark: str
    code: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, without comments and the empty ones."""
        lines = (re.sub(r"\s{2,}#.*$", "", line).strip() for line in self.code.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    return blocks_of(page.read_text(encoding="utf-8"), page)


def blocks_of(text: str, page: Path = ROOT) -> list[Block]:
    return [found(page, text, match) for match in FENCE.finditer(text)]


def found(page: Path, text: str, match: re.Match[str]) -> Block:
    language, _, mark = match[1].strip().partition(" ")
    return Block(page, text.count("\n", 0, match.start()) + 1, language, mark, match[2])
