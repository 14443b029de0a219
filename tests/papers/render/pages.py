"""Reading written HTML as a browser's parser would."""

from __future__ import annotations

from html.parser import HTMLParser

PLAIN = {
    "p",
    "strong",
    "em",
    "a",
    "code",
    "ul",
    "li",
    "del",
    "ins",
    "h1",
    "h2",
    "h3",
    "hr",
    "body",
    "html",
    "head",
    "title",
    "meta",
}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in PLAIN:
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (name in ("href", "src") and not (value or "").startswith("https://")):
                self.found.append(f"{tag} {name}={value}")


def active(text: str) -> list[str]:
    """What in a fragment could run, load or lead anywhere but to https, and every element that a fragment should not have."""
    reader = _Reader()
    reader.feed(text)
    return reader.found
