"""Words as the indexes of a library see them."""

from __future__ import annotations

import re
import unicodedata

_ACCENTS = re.compile("[\u0300-\u036f]+")
_LETTERS = re.compile(r"[^\W_]+")


def split_words(text: str) -> list[str]:
    """The words of a text as the author index sees them, folded: lower case, no diacritics."""
    return _LETTERS.findall(fold_name(text))


def fold_name(text: str) -> str:
    """Lower case, no diacritics."""
    folded = text.lower()
    return folded if folded.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFKD", folded))


def stems(texts: list[str]) -> list[list[str]]:
    """The terms that the text index makes of each text, by asking the same tokenizer."""
    import sqlite3

    from diffolio.papers.schema import TOKENIZER

    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(words, 'instance')")
        connection.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
        found: list[list[str]] = [[] for _ in texts]
        for place, term in connection.execute("SELECT doc, term FROM terms ORDER BY doc, offset"):
            found[place].append(term)
    connection.close()
    return found
