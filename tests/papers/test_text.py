"""Charsets, spaces, TeX and folding."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.papers.text import collapse_spaces, display, fold, repair_charset, squeeze, tex_to_unicode, unknown_macros
from tests.papers.seeds import seed

RIGHT = [
    "# 🔍 Sailing Papers · 2025-03-31",
    "Größere Räume für schöne Bilder",
    "modèles générés à partir d'une idée légère",
    "Łódź, Kraków i źródło",
    "扩散模型生成图像的方法",
    "拡散モデルによる画像生成",
    "модель порождает изображения",
    "μοντέλο διάχυσης εικόνας",
    "30° ± 2 µm — “quoted” ½ × 4",
    "🚀 video ✨",
]
CLEAN = [
    *RIGHT,
    "a ü, a ç and a ¬ in one line ∑",
    "l’été « école » CAFÉ” Ångström",
    "∑∂√ π≈3 ≤ ≥",
    "图 1 与表 2",
    "模型 A 与 B 对比",
    "«é» «École»",
    "São Paulo – MAÇÃ",
    "繁體中文論文",
    "Ünïcödé €5 £3 ©",
    "Ã",
]


@pytest.mark.parametrize("text", RIGHT)
@pytest.mark.parametrize("charset", ["mac_roman", "latin-1", "cp437", "cp1252"])
def test_a_misread_line_is_read_aright(text: str, charset: str) -> None:
    data = text.encode()
    broken = "".join(bytes([b]).decode(charset, "ignore") or chr(b) for b in data)
    mended, repairs = repair_charset(f"plain\n{broken}\nplain")
    assert mended == f"plain\n{text}\nplain"
    (repair,) = repairs
    assert (repair.field, repair.kind, repair.before, repair.after) == ("line 2", "charset", broken, text)
    assert 0.5 < repair.confidence <= 1


def test_gbk_and_a_line_misread_twice() -> None:
    text = "扩散模型生成"
    assert repair_charset(text.encode().decode("gbk"))[0] == text
    once = "schöner Größe".encode().decode("cp1252")
    assert repair_charset(once.encode().decode("cp1252"))[0] == "schöner Größe"


@pytest.mark.parametrize("text", CLEAN)
def test_a_right_line_is_left_alone(text: str) -> None:
    assert repair_charset(text) == (text, ())


def test_only_the_broken_lines_of_a_text_change() -> None:
    text = "Müller\n" + "Größe".encode().decode("mac_roman") + "\nnaïve"
    mended, repairs = repair_charset(text)
    assert mended == "Müller\nGröße\nnaïve"
    assert [repair.field for repair in repairs] == ["line 2"]


@pytest.mark.parametrize("name", ["000", "001"])
def test_the_headings_of_the_seeds(name: str) -> None:
    text = seed(name).decode()
    mended, repairs = repair_charset(text)
    assert [repair.field for repair in repairs] == ["line 1", "line 8", "line 14"]
    assert mended.startswith("# 🔍 Diffusion Papers · 2025-0")
    assert "\n## 📌 Filter by Category\n" in mended and "\n## 📚 Paper List\n" in mended
    assert repair_charset(mended) == (mended, ())


@pytest.mark.parametrize("name", ["002", "003", "004"])
def test_the_other_seeds_have_no_charset_damage(name: str) -> None:
    text = seed(name).decode()
    assert repair_charset(text) == (text, ())


def test_spaces() -> None:
    assert collapse_spaces("A Title:   Wrapped\there") == "A Title: Wrapped\there"
    assert collapse_spaces("one\ntwo  three") == "one\ntwo three"


TEX = {
    r"\'Elodie Sch{\"o}n": "Élodie Schön",
    r"Bal\'azs, \v{S}koda, \c{c}a, na{\"\i}ve, \'{\i}": "Balázs, Škoda, ça, naïve, í",
    r"{\O}re, \o{}re, \L ukasz, stra{\ss}e, \aa": "Øre, øre, Łukasz, straße, å",
    r"35\% of 5\_000 \& \#1": "35% of 5_000 & #1",
    r"``x'' and 5''": "“x” and 5''",
    r"4$\times$ at 60{\deg}, $90^\circ$, $\pm 3$, $\sim$10": "4× at 60°, 90°, ±3, ∼10",
    r"\emph{hello \textbf{big} world} {\em abc} \texttt{x}": "hello big world abc x",
    r"\href{https://a.example/b_c}{our page}": "our page",
    r"\url{https://a.example}": "https://a.example",
    r"$x^2$ and $\alpha_i$": r"$x^2$ and $\alpha_i$",
    "costs $5 and $6": "costs $5 and $6",
    "{a, b} {GAN}": "{a, b} {GAN}",
    "Fig.~1, ~10, 3--5, a --- b, --flag": "Fig. 1, ~10, 3–5, a — b, --flag",
    "https://a.example/~x": "https://a.example/~x",
    r"\unknown{x} \model": r"\unknown{x} \model",
    "an open $ and { and \\": "an open $ and { and \\",
}


@pytest.mark.parametrize("raw", TEX)
def test_tex_for_a_reader(raw: str) -> None:
    assert display(raw) == TEX[raw]


def test_unknown_macros_are_named() -> None:
    assert unknown_macros(r"\model{} beats \model and \emph{all} \oddity") == ("\\model", "\\oddity")
    assert unknown_macros("plain") == ()


def test_folding() -> None:
    assert fold('Sch{\\"o}n: A   Text-to-Image  Söng') == "schon a text to image song"
    assert fold("STRAẞE Łódź Ærø ﬁne") == "strasse lodz aero fine"
    assert fold("Größe") == fold('Gr\\"o{\\ss}e') == "grosse"
    assert squeeze("the modelcan") == squeeze("The model can.")
    assert fold("扩散 模型") == "扩散 模型"


@given(st.text(alphabet=st.sampled_from("a{}\\$'`\"~-^ \nü√©emphhref%"), max_size=60))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_nothing_crashes_and_plain_words_stay(text: str) -> None:
    shown = display(text)
    assert [c for c in shown if c == "ü"] or "ü" not in text or "\\" in text
    assert fold(shown) is not None and repair_charset(text)[0].count("\n") == text.count("\n")


@given(st.text(alphabet="abc xyz.,:;!?()[]", max_size=80))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_text_without_tex_is_shown_as_it_is(text: str) -> None:
    assert tex_to_unicode(text) == text


@pytest.mark.parametrize("unit", ["{", "\\emph{", "\\href{", "$", "\\'", "Ã©", "``", "\\", "--", "~a", "é"])
def test_a_hostile_text_takes_no_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    display(text), fold(text), repair_charset(text), collapse_spaces(text)
    assert time.process_time() - start < 2.0
