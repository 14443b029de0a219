"""Writing an issue: one digest, many formats.

    text = render(digest, "html")

Adding a format is adding one entry to ``_WRITERS``. The same digest gives the same text, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from diffolio.errors import choose
from diffolio.papers.digest import Digest

# format -> (module, function): a module is imported when it is needed
_WRITERS = {
    "markdown": ("markdown", "markdown"),
    "html": ("html", "html"),
    "topic-list": ("digests", "topic_list"),
    "overview": ("digests", "overview"),
    "blog": ("digests", "blog"),
    "rss": ("feed", "rss"),
    "atom": ("feed", "atom"),
    "json": ("feed", "json_feed"),
    "jsonl": ("bib", "jsonl"),
    "mail": ("mail", "mail"),
    "bibtex": ("bib", "bibtex"),
    "csl": ("bib", "csl"),
}
FORMATS = tuple(_WRITERS)
SUFFIXES = {
    "markdown": ".md", "html": ".html", "topic-list": ".md", "overview": ".md", "blog": ".md", "rss": ".rss", "atom": ".atom",
    "json": ".json", "jsonl": ".jsonl", "mail": ".eml", "bibtex": ".bib", "csl": ".json",
}  # fmt: skip


def render(digest: Digest, format: str, **options: Any) -> str:
    """``digest`` as one of FORMATS; ``options`` go to the writer of that format. Write it without newline translation.

    Raises UnknownName for another format.
    """
    module, name = _WRITERS[choose("format", format, FORMATS)]
    writer: Callable[..., str] = getattr(import_module(f"{__name__}.{module}"), name)
    return writer(digest, **options)
