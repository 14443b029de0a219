"""The grammars of digests: one module per format, found by its name.

Each has ``NAME``, ``why_not(text)``, ``sniff(text)``, ``read(text, *, path="") -> Issue`` and ``write(issue, *, mode)``.
Adding a format is adding a file here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from diffolio.errors import BadInput, unknown
from diffolio.papers.formats import grammar
from diffolio.papers.record import Issue

HEAD = 65_536  # characters in which the mark of a clean issue stands


class UnknownFormat(BadInput):
    """A text that follows none of the grammars."""


_SHARED = ("escaping", "frontmatter", "grammar", "notes")


@cache
def formats() -> dict[str, ModuleType]:
    """Every format by name."""
    found = (import_module(f"{__name__}.{told.name}") for told in iter_modules(__path__) if told.name not in _SHARED)
    return {module.NAME: module for module in found}


def of(name: str) -> ModuleType:
    """The module of a format. Raises UnknownName."""
    known = formats()
    if name not in known:
        raise unknown("digest format", name, known)
    return known[name]


def sniff(text: str) -> ModuleType:
    """The module whose grammar ``text`` follows. Raises UnknownFormat with the first line at which each format failed."""
    reasons = []
    for name, module in formats().items():
        reason = module.why_not(text)
        if reason is None:
            return module
        reasons.append((*reason, name))
    lines = text.split("\n", max(line for line, _, _ in reasons))
    told = "; ".join(f"{name}, line {line} ({lines[line - 1][:60]!r}): {why}" for line, why, name in reasons)
    raise UnknownFormat(f"no known digest. Tried {told}")


def is_clean(text: str) -> bool:
    """Whether ``text`` is an issue that :func:`write` made clean: nothing in it wants repair."""
    return grammar.find_mark(text[:HEAD]) is not None


def read(text: str, *, path: str = "") -> Issue:
    """The issue in ``text``, whatever its format."""
    module = sniff(text)
    issue: Issue = module.read(text, path=path)
    return issue


def write(issue: Issue, *, format: str | None = None, mode: str = "faithful", **options: object) -> str:
    """``issue`` in its own or another format; ``options`` go to the writer."""
    written: str = of(format or issue.format).write(issue, mode=mode, **options)
    return written
