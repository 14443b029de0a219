"""The API reference: a page per floor of the house, its modules in order, through mkdocstrings."""

from __future__ import annotations

from pathlib import Path

from docs.builder.content import ROOT

PACKAGE = ROOT / "diffolio"
SKIPPED = {"methods", "claims", "_evidence"}  # methods stand on their own pages; a claim is an experiment, not an interface


def floors() -> dict[str, list[str]]:
    """From the name of a floor to its modules, by their dotted names."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.iterdir()):
        if path.name.startswith("__") or path.name in SKIPPED or path.name.startswith("."):
            continue
        if path.suffix == ".py":
            found[path.stem] = [f"diffolio.{path.stem}"]
        elif (path / "__init__.py").exists():
            found[path.name] = [dotted(file) for file in sorted(path.rglob("*.py")) if public(file)]
    return {**found, "claims": ["diffolio.claims.base", "diffolio.claims.evidence"]}


def public(file: Path) -> bool:
    inside = file.relative_to(PACKAGE).with_suffix("").parts
    return not any(part.startswith("_") and part != "__init__" for part in inside) and file.stat().st_size > 0


def dotted(file: Path) -> str:
    inside = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def page(floor: str, modules: list[str]) -> str:
    return "\n\n".join([f"# diffolio.{floor}", *(f"::: {module}" for module in modules)]) + "\n"


def pages() -> dict[str, str]:
    return {"reference/index.md": index()} | {
        f"reference/{floor}.md": page(floor, modules) for floor, modules in floors().items()
    }


def index() -> str:
    lines = "\n".join(f"- [diffolio.{floor}]({floor}.md)" for floor in floors())
    return (
        "# Reference\n\nEvery public class and function, from the docstrings. Methods are on [their own pages](../methods/index.md). "
        f"What may import what: [the house](../words-and-house.md#the-house).\n\n{lines}\n"
    )
