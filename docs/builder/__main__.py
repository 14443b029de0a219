"""``python -m docs.builder [FOLDER]``: write the pages and build the site (default ``build/docs``)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from diffolio.claims.evidence import evidence_folder
from docs.builder import drawing, methods, models, site, tables
from docs.builder import reference as api
from docs.builder.content import ROOT, entries
from docs.builder.sources import DOCS, FROM_THE_ROOT, hand_written, prepared, shown_needs


def pages(reference: bool = True) -> dict[str, str]:
    """Every page of the site by its path; ``reference`` False leaves out what is made of docstrings by mkdocstrings."""
    fillings = {**tables.FILLED, "idea": drawing.idea}
    found = {path.name: prepared(path, fillings) for path in hand_written()}
    found |= {name: prepared(ROOT / source, fillings) for source, name in FROM_THE_ROOT.items()}
    found |= {"methods/index.md": methods.index(), "gallery.md": tables.gallery(), "models/index.md": models.index()}
    found |= {entry.page: methods.page(entry, reference) for entry in entries()}
    found |= {f"models/{name}.md": models.page(name) for name in models.names()}
    found |= api.pages() if reference else {}
    found["evidence.md"] = "---\nhide:\n  - toc\n---\n\n" + found["evidence.md"]  # the table is wide
    return {name: shown_needs(text) for name, text in found.items()}


def write(folder: Path, reference: bool = True) -> None:
    """Every page, picture, record and asset under ``folder``; what stood there before is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    for name, text in pages(reference).items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    shutil.copytree(DOCS / "assets", folder / "assets")
    if (DOCS / "pictures").is_dir():
        shutil.copytree(DOCS / "pictures", folder / "pictures")
    for path in evidence_folder().glob("*/*"):
        kind = {".png": "pictures", ".webp": "pictures", ".gif": "pictures", ".json": "records"}.get(path.suffix)
        if kind:
            place = folder / kind / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def main(out: Path) -> int:
    try:
        import mkdocstrings  # noqa: F401
        import zensical  # noqa: F401
    except ImportError as missing:
        print(f"the documentation needs {missing.name}: make docs installs it (pip install -c constraints.txt -e '.[docs]')")
        return 2
    folder = out.resolve()
    write(folder / "pages")
    wrong = site.build(folder)
    for line in wrong:
        print(line)
    count = len(list((folder / "pages").rglob("*.md")))
    print(f"{count} pages, {len(wrong)} problems" if wrong else f"{count} pages in {out / 'site' / 'index.html'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/docs")))
