"""The text in the bytes of a digest, whatever editor or system wrote them.

UTF-8, UTF-16 and UTF-32 with or without a byte order mark, GBK (GB18030), Windows-1252 and Latin-1; line ends become ``\\n``.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from diffolio.errors import BadInput

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_HIGH = re.compile(rb"[\x80-\xff]")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_GBK = re.compile(rb"[\x81-\xfe][0-9][\x81-\xfe][0-9]|[\x81-\xfe][\x80-\xfe]")


class NoText(BadInput):
    """Bytes that are no text."""


@dataclass(frozen=True)
class Decoded:
    """``text`` with ``\\n`` for line ends. ``encode`` gives the bytes back where nothing was replaced and line ends agree."""

    text: str
    encoding: str
    bom: bytes = b""
    newline: str = "\n"
    warnings: tuple[str, ...] = ()

    def encode(self, text: str) -> bytes:
        """``text`` as the file would hold it."""
        return self.bom + text.replace("\n", self.newline).encode(self.encoding)


def decode(data: bytes) -> Decoded:
    """The text of a file. Raises NoText when it is empty or no text."""
    bom, encoding = next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", ""))
    body = data[len(bom) :]
    if not body.strip(b"\x00 \t\r\n"):
        raise NoText("the file is empty" if not data else "the file holds nothing but blank space")
    warnings: list[str] = []
    encoding = encoding or _wide(body) or _narrow(body)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text = body.decode(encoding, "replace")
        lines = [n for n, line in enumerate(text.split("\n"), start=1) if "\ufffd" in line]
        shown = ", ".join(map(str, lines[:5])) + (" ..." if len(lines) > 5 else "")
        warnings.append(f"line {shown}: bytes that are not {encoding.upper()} became \ufffd")
    nul = text.find("\x00")
    if nul >= 0:
        raise NoText(f"line {text.count(chr(10), 0, nul) + 1} holds a NUL character: this is no text file")
    newline = "\n"
    if "\r" in text:
        windows, mac = text.count("\r\n"), text.count("\r") - text.count("\r\n")
        newline = "\r\n" if windows else "\r"
        if text.count("\n") > windows or (windows and mac):
            warnings.append("line 1: the file mixes kinds of line ends")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Decoded(text, encoding, bom, newline, tuple(warnings))


def _wide(body: bytes) -> str:
    """UTF-16 without a mark shows as NULs in every other place; nothing else has that."""
    sample = body[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < len(sample) / 8 or min(even, odd) * 4 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _narrow(body: bytes) -> str:
    """UTF-8 where most of what is not ASCII is UTF-8, GBK where most of it comes in its pairs, else a Western encoding."""
    try:
        body.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    high = len(_HIGH.findall(body))
    if sum(map(len, _UTF8.findall(body))) >= 0.5 * high:
        return "utf-8"
    pairs = sum(len(_HIGH.findall(pair)) for pair in _GBK.findall(body))
    for encoding, wanted in (("gb18030", pairs >= 0.8 * high), ("cp1252", True)):
        if wanted:
            try:
                body.decode(encoding)
                return encoding
            except UnicodeDecodeError:
                continue
    return "latin-1"
