"""What is known of a method without importing it: its card, read from its source."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffolio.errors import BadInput, unknown
from diffolio.knobs import Range, knob

METHODS = Path(__file__).parent / "methods"
KINDS = {"Technique": "technique", "Tool": "tool", "Editor": "tool", "Recipe": "recipe"}
EDITOR_TAKES = frozenset({"image", "mask", "target"})


@dataclass(frozen=True)
class KnobCard:
    name: str
    type: str
    default: Any
    range: Range


@dataclass(frozen=True)
class Card:
    """A method as its source tells it."""

    name: str
    family: str
    kind: str
    paper: str
    works_on: tuple[str, ...]
    class_name: str
    idea: str  # the module's docstring
    summary: str  # the class's docstring
    knobs: tuple[KnobCard, ...]
    path: Path
    edits: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        return self.idea.strip().splitlines()[0] if self.idea else ""


@functools.cache
def cards() -> dict[str, Card]:
    """Every method by name, sorted; read from source."""
    found = (_read(path) for path in sorted(METHODS.glob("*/*.py")) if path.stem != "__init__")
    return {card.name: card for card in sorted((c for c in found if c), key=lambda c: c.name)}


def card(name: str) -> Card:
    """The card of a method; names may be written with - or _."""
    key = name.replace("-", "_")
    if key not in cards():
        raise unknown("method", name, cards(), hint="`diffolio list` shows what there is.")
    return cards()[key]


def _read(path: Path) -> Card | None:
    """The card of one file. BadInput names the file whose knobs or ``@method`` arguments are not plain literals."""
    try:
        return _card(path)
    except (ValueError, SyntaxError) as error:
        raise BadInput(
            f"{path.name} cannot be read as a method: write its @method and knob(...) as literals ({error})"
        ) from error


def _card(path: Path) -> Card | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        call = next((d for d in node.decorator_list if isinstance(d, ast.Call) and getattr(d.func, "id", "") == "method"), None)
        if call is None:
            continue
        given = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        base = next(b.id for b in node.bases if isinstance(b, ast.Name) and b.id in KINDS)
        needs = set(given.get("needs", ()))
        takes = set(given.get("takes", ())) | needs | (EDITOR_TAKES if base == "Editor" else set())
        knobs = tuple(_knob_card(item) for item in node.body if isinstance(item, ast.AnnAssign) and _is_knob(item))
        return Card(
            path.stem, given["family"], KINDS[base], given["paper"], tuple(sorted(given.get("works_on", ()))), node.name,
            ast.get_docstring(tree) or "", ast.get_docstring(node) or "", knobs, path,
            tuple(sorted(given.get("edits", ()))), tuple(sorted(takes)), tuple(sorted(needs)),
            tuple(sorted(given.get("exclusive", ()))),
        )  # fmt: skip
    return None


def _is_knob(item: ast.AnnAssign) -> bool:
    return isinstance(item.value, ast.Call) and getattr(item.value.func, "id", "") == "knob"


def _knob_card(item: ast.AnnAssign) -> KnobCard:
    assert isinstance(item.value, ast.Call) and isinstance(item.target, ast.Name)
    said = {k.arg: ast.literal_eval(k.value) for k in item.value.keywords if k.arg}
    made = knob(None, **said).metadata["range"]
    return KnobCard(item.target.id, ast.unparse(item.annotation), ast.literal_eval(item.value.args[0]), made)


def parts_of(docstring: str) -> Iterator[tuple[bool, list[str]]]:
    """A docstring's paragraphs and its indented parts (equations, code) in order, as lines; True for an indented one."""
    for block in re.split(r"\n\s*\n", docstring.strip("\n")):
        lines = block.splitlines()
        while lines:
            inside = lines[0].startswith("    ")
            n = next((i for i, line in enumerate(lines) if line.startswith("    ") != inside and line.strip()), len(lines))
            yield inside, lines[:n]
            lines = lines[n:]
