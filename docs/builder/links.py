"""Does every link of a built site lead somewhere, and does no page load anything from elsewhere?"""

from __future__ import annotations

import functools
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
}
QUIET = {"canonical", "alternate", "prev", "next"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {value for name, value in attrs if name in ("id", "name") and value}
        for name, value in attrs:
            if value is None:
                continue
            if (tag, name) in LOADS and given.get("rel") not in QUIET:
                self.loads.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)


def problems(site: Path) -> list[str]:
    """One line for every link, picture, script or style that is missing, and for everything that another host is asked for."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}

    @functools.cache
    def exists(path: Path) -> bool:
        return path.is_file()

    found = []
    for path, page in pages.items():
        own = path.relative_to(site.resolve())
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{own} loads {link} from another host")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not exists(target):
                found.append(f"{own} -> {link}: no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
                found.append(f"{own} -> {link}: no such place in {target.name}")
    return found + [f"{path.name} loads {host} from another host" for path, host in foreign_styles(site)]


def foreign_styles(site: Path) -> list[tuple[Path, str]]:
    """Imports and fonts of style sheets that are not beside them."""
    found = []
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        for start in ("url(http", "url('http", 'url("http', "@import"):
            found += [(path, start)] if start in text else []
    return found
