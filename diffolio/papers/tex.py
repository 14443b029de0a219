"""TeX in titles, names and abstracts shown as Unicode. The raw text stays what it is; this is for showing and comparing."""

from __future__ import annotations

import re
import unicodedata

_ACCENTS = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307", "u": "\u0306",
    "v": "\u030c", "H": "\u030b", "c": "\u0327", "k": "\u0328", "r": "\u030a", "b": "\u0331", "d": "\u0323",
}  # fmt: skip
_LETTERS = {
    "ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å",
    "i": "ı", "j": "ȷ", "dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "dj": "đ", "DJ": "Đ", "ng": "ŋ", "NG": "Ŋ",
}  # fmt: skip
_SYMBOLS = {
    "times": "×", "deg": "°", "degree": "°", "circ": "∘", "pm": "±", "mp": "∓", "cdot": "·", "sim": "∼", "approx": "≈",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ll": "≪", "gg": "≫", "ne": "≠", "neq": "≠", "to": "→", "rightarrow": "→",
    "leftarrow": "←", "leftrightarrow": "↔", "uparrow": "↑", "downarrow": "↓", "infty": "∞", "in": "∈", "subset": "⊂",
    "cup": "∪", "cap": "∩", "forall": "∀", "exists": "∃", "partial": "∂", "nabla": "∇", "sum": "∑", "prod": "∏", "int": "∫",
    "sqrt": "√", "dagger": "†", "dag": "†", "ddagger": "‡", "ast": "∗", "star": "⋆", "bullet": "•", "checkmark": "✓",
    "ldots": "…", "dots": "…", "cdots": "⋯", "prime": "′", "ell": "ℓ", "hbar": "ℏ", "S": "§", "P": "¶", "copyright": "©",
    "pounds": "£", "euro": "€", "textdegree": "°", "textendash": "–", "textemdash": "—", "textquoteright": "’",
    "textasciitilde": "~", "textbackslash": "\\", "textregistered": "®", "texttrademark": "™", "propto": "∝", "equiv": "≡",
    "perp": "⊥", "langle": "⟨", "rangle": "⟩", "mid": "|", "vert": "|", "Vert": "‖", "otimes": "⊗", "oplus": "⊕", "odot": "⊙",
    "LaTeX": "LaTeX", "TeX": "TeX", "lbrack": "[", "rbrack": "]", "quad": " ", "qquad": " ", "percent": "%",
}  # fmt: skip
_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "sigmaf", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
for _offset, _name in enumerate(_GREEK):
    _SYMBOLS[_name] = chr(0x3B1 + _offset)
    if _name != "sigmaf":
        _SYMBOLS[_name.capitalize()] = chr(0x391 + _offset)
_SYMBOLS |= {"varepsilon": "ε", "vartheta": "ϑ", "varphi": "φ", "varrho": "ϱ", "varsigma": "ς"}

# Macros that only dress their argument, and switches that dress the rest of a group.
_DRESS = frozenset(
    [
        "emph",
        "textit",
        "textbf",
        "texttt",
        "textsc",
        "textsf",
        "textrm",
        "textup",
        "textmd",
        "textnormal",
        "textsl",
        "text",
        "mbox",
        "hbox",
        "underline",
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathcal",
        "mathbb",
        "mathfrak",
        "operatorname",
        "url",
        "path",
        "boldsymbol",
        "bm",
        "uline",
    ]
)
_SWITCHES = frozenset(
    [
        "em",
        "it",
        "bf",
        "tt",
        "sc",
        "sf",
        "rm",
        "sl",
        "itshape",
        "bfseries",
        "ttfamily",
        "scshape",
        "small",
        "large",
        "footnotesize",
        "normalsize",
    ]
)

_TOKEN = re.compile(
    r"\\(?P<accent>['`^\"~=.]|[uvHckrbd](?=\{|[ ]\\?[a-zA-Z]))[ ]?(?:\{\\?(?P<braced>[a-zA-Z])\}|\\?(?P<bare>[a-zA-Z]))"
    r"|\\(?P<macro>[a-zA-Z]+)(?P<gap>[ \t]?)|\\(?P<escaped>[%&_#${} ,;!\-/])"
    r"|(?P<sign>``|''|(?<=\S)---?(?=\S)|(?<=\s)---?(?=\s)|(?<=[A-Za-z.,])~(?=\S))"
    r"|(?P<open>\{)|(?P<close>\})|(?P<maths>\$)"
)
_SIGNS = {"``": "“", "''": "”", "--": "–", "---": "—", "~": " "}
_ESCAPED = {" ": " ", ",": " ", ";": " ", "!": "", "/": ""}
_MACRO = re.compile(r"\\([a-zA-Z]+)\s?")
_ADDRESS = re.compile(r"\{[^{}\s]{0,2000}\}\{")
_LONGEST_MATHS = 40  # characters


def tex_to_unicode(text: str) -> str:
    """``text`` with accents, quotes, dashes and simple macros as Unicode; unknown macros and other maths stay as they are."""
    return _Reader(text).text


def unknown_macros(text: str) -> tuple[str, ...]:
    """The macros outside of maths that :func:`tex_to_unicode` leaves as they are, each once: the text shows them raw."""
    return tuple(dict.fromkeys(_Reader(text).unknown))


class _Reader:
    """One pass over a text. Braces that only hold a group together vanish, others are the author's own and stay."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.unknown: list[str] = []
        if not any(sign in text for sign in ("\\", "$", "``", "--", "~")):
            return
        self.source, self.out = text, [""]
        self.open: list[tuple[int, bool]] = []  # place in ``out`` of each open brace, and whether it is shown
        self.quoted = 0
        at = 0
        while match := _TOKEN.search(text, at):
            self.out.append(text[at : match.start()])
            at = self._read(match)
        self.out.append(text[at:])
        self.text = unicodedata.normalize("NFC", "".join(self.out)) if "\\" in text else "".join(self.out)

    def _read(self, match: re.Match[str]) -> int:
        """Write what one token stands for; where to go on."""
        token, end = match[0], match.end()
        if match["accent"]:
            self._ungroup(match)
            letter = match["braced"] or match["bare"]
            self.out.append(unicodedata.normalize("NFC", letter + _ACCENTS[match["accent"]]))
        elif match["macro"]:
            return self._macro(match)
        elif match["escaped"]:
            self.out.append(_ESCAPED.get(token[1], token[1]))
        elif match["open"]:
            self.open.append((len(self.out), True))
            self.out.append("{")
        elif match["close"]:
            _, shown = self.open.pop() if self.open else (-1, True)
            self.out.append("}" if shown else "")
        elif match["maths"]:
            return self._maths(end)
        else:
            self.quoted += (token == "``") - (token == "''")
            self.out.append(token if token == "''" and self.quoted < 0 else _SIGNS[token])
            self.quoted = max(self.quoted, 0)
        return end

    def _ungroup(self, match: re.Match[str]) -> None:
        """A brace right before an accent or a macro, as in {\\"o}, only holds them together."""
        if self.open and self.source[match.start() - 1 : match.start()] == "{":
            place, _ = self.open[-1]
            if place >= 0:
                self.out[place] = ""
            self.open[-1] = (place, False)

    def _macro(self, match: re.Match[str]) -> int:
        name, end = match["macro"], match.end()
        after = self.source[match.end("macro") : match.end("macro") + 1]
        if name == "href" and after == "{":
            address = _ADDRESS.match(self.source, end)
            if address:
                self.open.append((-1, False))
                return address.end()
        if name in _DRESS and after == "{":
            self.open.append((-1, False))
            return match.end("macro") + 1
        if name in _LETTERS or name in _SYMBOLS or name in _SWITCHES:
            self._ungroup(match)
            letter = _LETTERS.get(name)
            self.out.append(letter or _SYMBOLS.get(name, "") + (match["gap"] if name not in _SWITCHES else ""))
            return end + 2 if self.source.startswith("{}", end) else end
        self.unknown.append("\\" + name)
        self.out.append(match[0])
        return end

    def _maths(self, start: int) -> int:
        """Maths of digits and known symbols alone is shown without its dollars; other maths is left to the reader."""
        end = start
        while True:
            end = self.source.find("$", end)
            if end < 0 or self.source[end - 1] != "\\":
                break
            end += 1
        if end < 0:
            self.out.append("$")
            return start
        body = self.source[start:end]
        self.out.append(_plain(body) if 0 < len(body) <= _LONGEST_MATHS else f"${body}$")
        return end + 1


def _plain(body: str) -> str:
    text = body.replace("^{\\circ}", "°").replace("^\\circ", "°").replace("\\%", "%").replace("\\,", "")
    text = _MACRO.sub(lambda match: _SYMBOLS.get(match[1], match[0]), text)
    letters = any("a" <= char.lower() <= "z" for char in text)
    return f"${body}$" if letters or any(char in "\\^_{}" for char in text) else text
