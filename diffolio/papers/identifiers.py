"""arXiv identifiers: every way people write one, and a sortable integer key.

The key orders papers by month of submission, is the same on every machine and is a bijection with the id, so that the
store can use it as a row number and turn a range of dates into a range of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from diffolio.errors import BadInput

# Archives of the old scheme (1991-2007) in a fixed order: the position is part of the key and must never change.
ARCHIVES = (
    "acc-phys", "adap-org", "alg-geom", "ao-sci", "astro-ph", "atom-ph", "bayes-an", "chao-dyn", "chem-ph", "cmp-lg",
    "comp-gas", "cond-mat", "cs", "dg-ga", "funct-an", "gr-qc", "hep-ex", "hep-lat", "hep-ph", "hep-th", "math", "math-ph",
    "mtrl-th", "nlin", "nucl-ex", "nucl-th", "patt-sol", "physics", "plasm-ph", "q-alg", "q-bio", "quant-ph", "solv-int",
    "supr-con", "econ", "eess", "q-fin", "stat",
)  # fmt: skip
_CODE = {archive: code for code, archive in enumerate(ARCHIVES, start=1)}

_NEW = re.compile(r"(\d{2})(\d{2})\.(\d+)", re.ASCII)
_OLD = re.compile(r"([a-z]+(?:-[a-z]+)?)(?:\.[a-z-]{2,9})?/(\d{2})(\d{2})(\d{3})", re.ASCII | re.IGNORECASE)
_HOSTS = r"(?:www\.|export\.|browse\.)?(?:arxiv\.org|alphaxiv\.org|huggingface\.co|hf\.co|doi\.org|dx\.doi\.org)"
_PREFIX = re.compile(
    rf"(?:https?://)?{_HOSTS}/(?:abs/|pdf/|html/|list/|format/|ps/|papers/|overview/)?(?:10\.48550/)?"
    r"|10\.48550/|oai:arxiv\.org:|doi:\s*10\.48550/|arxiv\s*[:.]\s*",
    re.IGNORECASE,
)
_VERSION = re.compile(r"v(\d{1,3})", re.ASCII | re.IGNORECASE)

SERIAL_BITS, ARCHIVE_BITS = 17, 7


@dataclass(frozen=True, order=True)
class PaperId:
    """``base`` without version in canonical form (``2403.12963``, ``hep-th/9901001``); ``version`` 1.. or None."""

    base: str
    version: int | None = None

    def __str__(self) -> str:
        return self.base if self.version is None else f"{self.base}v{self.version}"

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self}"


def parse_id(text: str) -> PaperId:
    """The id in ``text``: bare, with ``arXiv:``, as an abs/pdf/html URL, a DOI, an OAI name, a Hugging Face paper page.

    Raises BadInput with the reason when any part of the text is not understood; nothing is read halfway.
    """
    if plain := _NEW.fullmatch(text):
        return PaperId(_new(text, *plain.groups()))
    given = text.strip()
    rest = unquote(given).split("?")[0].split("#")[0].rstrip("/").strip()
    while (prefix := _PREFIX.match(rest)) and prefix.end():
        rest = rest[prefix.end() :]
    rest = re.sub(r"\.pdf$", "", rest, flags=re.IGNORECASE)
    if match := _NEW.match(rest):
        base = _new(given, *match.groups())
    elif match := _OLD.match(rest):
        base = _old(given, *match.groups())
    else:
        raise _bad(given, "it is neither like 2403.12963 nor like hep-th/9901001")
    tail = rest[match.end() :]
    if not tail:
        return PaperId(base)
    version = _VERSION.fullmatch(tail)
    if not version or int(version[1]) == 0:
        raise _bad(given, f"{tail!r} after the number is not a version like v2")
    return PaperId(base, int(version[1]))


def _bad(given: str, why: str) -> BadInput:
    shown = given if len(given) <= 80 else given[:77] + "..."
    return BadInput(f"{shown!r} is not an arXiv id: {why}")


def _new(given: str, year: str, month: str, serial: str) -> str:
    if not 1 <= int(month) <= 12:
        raise _bad(given, f"month {month} does not exist")
    if not 7 <= int(year) <= 90 or (int(year) == 7 and int(month) < 4):
        raise _bad(given, f"the scheme YYMM.number began in April 2007, {year}{month} lies outside it")
    digits = 4 if int(year) * 100 + int(month) < 1501 else 5
    if len(serial) != digits:
        raise _bad(given, f"{year}{month} has numbers of {digits} digits, not {len(serial)}")
    if int(serial) == 0:
        raise _bad(given, "numbers begin at 1")
    return f"{year}{month}.{serial}"


def _old(given: str, archive: str, year: str, month: str, serial: str) -> str:
    archive = archive.lower()
    if archive not in _CODE:
        raise _bad(given, f"{archive!r} is not an archive of arXiv")
    if not 1 <= int(month) <= 12:
        raise _bad(given, f"month {month} does not exist")
    if 7 < int(year) < 91 or (int(year) == 7 and int(month) > 3):
        raise _bad(given, f"the scheme archive/YYMMnumber ended in March 2007, {year}{month} lies outside it")
    if int(serial) == 0:
        raise _bad(given, "numbers begin at 1")
    return f"{archive}/{year}{month}{serial}"


def key_of(base: str) -> int:
    """The row number of a canonical id: (year * 12 + month - 1) * 2^24 + archive * 2^17 + serial. Monotone in the month."""
    if "/" in base:
        archive, number = base.split("/")
        code, year, month, serial = _CODE[archive], int(number[:2]), int(number[2:4]), int(number[4:])
        year += 1900 if year >= 91 else 2000
    else:
        code, year, month, serial = 0, 2000 + int(base[:2]), int(base[2:4]), int(base[5:])
    return month_key(year, month) + (code << SERIAL_BITS) + serial


def month_key(year: int, month: int) -> int:
    """The smallest key that a paper of this month may have; ``month`` 1..12, 13 gives the next year's first."""
    return (year * 12 + month - 1) << (SERIAL_BITS + ARCHIVE_BITS)


def base_of(key: int) -> str:
    """The canonical id of a key; the inverse of :func:`key_of`."""
    months, rest = key >> (SERIAL_BITS + ARCHIVE_BITS), key & ((1 << (SERIAL_BITS + ARCHIVE_BITS)) - 1)
    (year, month), code, serial = divmod(months, 12), rest >> SERIAL_BITS, rest & ((1 << SERIAL_BITS) - 1)
    month += 1
    if code:
        return f"{ARCHIVES[code - 1]}/{year % 100:02}{month:02}{serial:03}"
    digits = 4 if (year, month) < (2015, 1) else 5
    return f"{year % 100:02}{month:02}.{serial:0{digits}}"
