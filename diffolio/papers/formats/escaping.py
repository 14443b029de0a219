"""The escapes of clean issues, and the way back.

What a clean issue prints shows exactly the text of the record: nothing in it acts as Markdown or HTML.
"""

from __future__ import annotations

import html
import re

_URL = r"https?://[\w/.:~#%=+?;@!-]+"
_ACTIVE = r"(?P<html>[&<>])|(?P<within>(?<=[^\W_])_(?=[^\W_]))|(?P<active>[\\`*_\[\]~$#|])"
_MATH = r"\$(?![\s$])[^$\n`<>&\[\]]{0,300}(?<!\s)\$"
_PLAIN = re.compile(_ACTIVE)
_SPANS = re.compile(f"(?P<span>{_MATH}|{_URL})|{_ACTIVE}")
_ESCAPED = re.compile(rf"\\([!-/:-@\[-`{{-~])|(\$[^$\n]*\$|{_URL})|(&(?:amp|lt|gt);)")
_OPENER = re.compile(r"[-+=]|\d+(?=[.)])")
_ENTITY = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CHARACTER = {entity: character for character, entity in _ENTITY.items()}


def flat(text: str) -> str:
    """``text`` on one line."""
    return re.sub(r"[ \t\n\r\f\v]+", " ", text).strip(" ")


def escape(text: str, spans: bool = True) -> str:
    """``text`` on one line of Markdown that shows exactly it. With ``spans``, formulas in ``$`` and URLs stay readable."""
    printed = (_SPANS if spans else _PLAIN).sub(_escaped, flat(text))
    opener = _OPENER.match(printed)
    if opener:
        at = opener.end() if opener[0].isdigit() else 0
        printed = f"{printed[:at]}\\{printed[at:]}"
    return printed


def _escaped(found: re.Match[str]) -> str:
    if found.lastgroup == "html":
        return _ENTITY[found[0]]
    return "\\" + found[0] if found.lastgroup == "active" else found[0]


def unescape(text: str) -> str:
    """The inverse of :func:`escape` on text without line breaks."""
    return _ESCAPED.sub(lambda found: found[1] or found[2] or _CHARACTER[found[3]], text)


def escape_html(text: str) -> str:
    """``text`` on one line of HTML that shows exactly it; for places where Markdown is not read."""
    return re.sub("[&<>]", lambda found: _ENTITY[found[0]], flat(text))


def unescape_html(text: str) -> str:
    """The inverse of :func:`escape_html`."""
    return html.unescape(text)
