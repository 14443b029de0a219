"""The house: each floor imports only floors below it, methods never import each other, no module is a ball of mud."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "diffolio"
FLOORS = {
    "errors": 0, "geometry": 0, "knobs": 1, "cards": 1, "registry": 1, "papers": 1, "worlds": 1, "process": 2, "nets": 2, "seams": 2,
    "miniatures": 3, "models": 3, "results": 3, "training": 4, "metrics": 4, "edits": 4, "methods": 5, "claims": 6, "cli": 7, "web": 7,
}  # fmt: skip
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def floor_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def module_imports(path: Path) -> list[str]:
    """What a module imports from the package when it is imported (not what it needs for types, or inside functions)."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffolio"):
            found.append(node.module)
            if node.module == "diffolio":
                found[-1:] = [f"diffolio.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("diffolio.")]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_floors_below(path):
    own = FLOORS[floor_of(path)]
    for name in module_imports(path):
        floor = name.split(".")[1]
        if floor == "__version__":
            continue
        assert FLOORS[floor] <= own, f"{floor_of(path)} imports {name}, which stands above it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*/*.py")), ids=lambda p: p.stem)
def test_methods_do_not_import_methods(path):
    tree = ast.parse(path.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith("diffolio.methods")]


def test_files_stay_readable():
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 320}
    assert not long
