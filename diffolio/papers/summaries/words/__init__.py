"""Words of nine languages: labels of a digest, hedges, strengths, "none", number words, units. One TOML file each.

A language is added by adding a file. The check reads all tables at once, because a summary mixes languages; entries whose
script has word boundaries match only at them.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from diffolio.errors import choose

_FOLDER = Path(__file__).parent
# Letters of the alphabets: only among these do words have boundaries ("GB를" and "dB的" end a unit before the particle).
LETTERS = "A-Za-zÀ-ɏͰ-ӿ"
LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def table(language: str) -> dict[str, Any]:
    """The whole table of one language; an error with the nearest codes for an unknown one."""
    choose("language", language, LANGUAGES)
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def labels(language: str) -> dict[str, str]:
    """Field -> heading, for writing a digest in one language (the keys are the same in all)."""
    return dict(table(language)["labels"])


@cache
def readings() -> dict[str, tuple[str, str]]:
    """Heading as people write it, in lower case -> (field, language): for reading digests. Earlier languages win ties."""
    found: dict[str, tuple[str, str]] = {}
    for language in ("en", *LANGUAGES):
        words = table(language)
        for field, label in words["labels"].items():
            if field not in ("extracted", "unsupported"):
                for spelling in (label, *words["aliases"].get(field, ())):
                    found.setdefault(_fold(spelling), (field, language))
    return found


def _fold(words: str) -> str:
    return re.sub(r"\s+", " ", words).strip().lower()


@cache
def entries(section: str, key: str) -> tuple[str, ...]:
    """All languages' entries of one list, the longest first, so that an alternation prefers them."""
    found = {word for language in LANGUAGES for word in table(language).get(section, {}).get(key, ())}
    return tuple(sorted(found, key=lambda word: (-len(word), word)))


@cache
def mapping(section: str) -> dict[str, Any]:
    """All languages' entries of one table, keys in lower case."""
    return {key.lower(): value for language in LANGUAGES for key, value in table(language).get(section, {}).items()}


def bounded(word: str) -> str:
    """A regular expression for ``word`` as written, with boundaries where its script has them; spaces match hyphens too."""
    body = r"[\s-]+".join(re.escape(piece) for piece in word.split())
    left = rf"(?<![{LETTERS}])" if word[0].isalpha() and not is_cjk(word[0]) else ""
    right = rf"(?![{LETTERS}])" if word[-1].isalpha() and not is_cjk(word[-1]) else ""
    return left + body + right


def is_cjk(char: str) -> bool:
    """Whether a character belongs to a script written without spaces between words, or to Hangul."""
    return "぀" <= char <= "ヿ" or "㐀" <= char <= "鿿" or "가" <= char <= "힣" or "豈" <= char <= "﫿"


@cache
def plain(section: str, key: str) -> re.Pattern[str]:
    """One pattern for a list of plain words."""
    return re.compile("|".join(map(bounded, entries(section, key))) or r"(?!)", re.IGNORECASE)


@cache
def patterns(section: str, key: str) -> re.Pattern[str]:
    """One pattern for a list of regular expressions; Latin and Cyrillic ones begin and end at a word boundary."""
    every = entries(section, key)
    cjk = [expression for expression in every if any(map(is_cjk, expression))]
    latin = [expression for expression in every if expression not in cjk]
    sides = cjk + ([rf"(?<![{LETTERS}])(?:{'|'.join(latin)})(?![{LETTERS}])"] if latin else [])
    return re.compile("|".join(sides) or r"(?!)", re.IGNORECASE)
