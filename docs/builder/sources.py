"""The hand-written pages on their way into the site: links out of ``docs/`` are turned, and comments are filled in."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs.builder.content import ROOT

DOCS = ROOT / "docs"
FROM_THE_ROOT = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md"}
# With it goes the remark in brackets below, which is for those who read the page in the repository.
FILL = re.compile(r"(?m)^<!-- fill: ([a-z ]+) -->$(\n\n\((?:.|\n(?!\n))*\)$)?")
LINK = re.compile(r"(\]\()([^)\s]+)")
NEEDS = re.compile(r"(?m)^```(\w+) needs-(\w+)$")
WANTS = {"network": "needs a network", "gpu": "needs a GPU", "files": "needs files of yours"}
MINUTES = re.compile(r"(?m)^```(\w+) takes-minutes$")


def hand_written() -> list[Path]:
    return sorted(DOCS.glob("*.md"))


def prepared(path: Path, fillings: dict[str, Callable[[], str]]) -> str:
    """A page as the site takes it. KeyError for a comment that asks for what there is not, ValueError for a link to nowhere."""
    text = path.read_text(encoding="utf-8")
    text = LINK.sub(lambda found: found[1] + turned(found[2], path), text)
    return shown_needs(FILL.sub(lambda found: fillings[found[1]](), text))


def shown_needs(text: str) -> str:
    """What a block needs beyond this machine becomes its title."""
    text = MINUTES.sub(lambda found: f'```{found[1]} title="takes minutes or more"', text)
    return NEEDS.sub(lambda found: f'```{found[1]} title="{WANTS[found[2]]}"', text)


def turned(link: str, path: Path) -> str:
    """A link of a page in ``docs/`` or of a page at the root, as it is inside the site."""
    if re.match(r"[a-z]+:|#", link):
        return link
    target, mark, anchor = link.partition("#")
    inside = path.parent == DOCS and not target.startswith("../")
    whole = (path.parent / target).resolve().relative_to(ROOT).as_posix() if not inside else f"docs/{target}"
    return placed(whole, path) + mark + anchor


def placed(whole: str, path: Path) -> str:
    """Where a file of the repository stands in the site."""
    if whole in FROM_THE_ROOT:
        return FROM_THE_ROOT[whole]
    if whole.startswith("docs/"):
        return whole.removeprefix("docs/")
    method = re.fullmatch(r"diffolio/(methods/\w+/\w+)\.py", whole)
    if method:
        return f"{method[1]}.md"
    found = re.fullmatch(r"evidence/(\w+/\w+)\.(webp|json)", whole)
    if found:
        return f"{'pictures' if found[2] == 'webp' else 'records'}/{found[1]}.{found[2]}"
    raise ValueError(f"{path.name} links to {whole}, which is not part of the site: link to a page, the README or evidence/")
