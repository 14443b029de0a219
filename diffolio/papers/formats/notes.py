"""The long notes that a model wrote into blog digests: read leniently, kept verbatim, believed nowhere.

They are broken HTML lists whose numbering means nothing. What names a field is a label before a colon, in Chinese or English,
at the beginning of a line or list item.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping

# field -> labels; in the first part of a label spaces do not count
_LABELS = {
    "title": "论文标题|论文题目|标题|题目|Title",
    "authors": "论文作者|作者|Authors?",
    "affiliation": "第一作者(?:的)?(?:所属)?(?:单位|机构)|作者单位|(?:所属|隶属)(?:单位|机构)|单位|隶属|机构|Affiliations?",
    "keywords": "关键词|关键字|Key ?words",
    "code": "Git ?[Hh]ub ?(?:代码)?(?:链接|地址)?|代码(?:链接|地址)?|Code",
    "links": "论文(?:链接|地址)|链接|网址|Urls?|Links?|Paper (?:link|URL)",
    "abstract": "摘要|总结|Summary|Abstract",
    "background": "研究背景|背景|Research [Bb]ackground|Background",
    "prior_work": "过去(?:的)?方法[^：:\n]{0,12}|以往(?:的)?方法[^：:\n]{0,12}|Past [Mm]ethods[^：:\n]{0,30}|Prior [Ww]ork",
    "method": "(?:本文)?(?:提出的?)?(?:研究)?方法(?:论)?|本文方法|(?:Research )?[Mm]ethods?|(?:Research )?[Mm]ethodology",
    "results": "方法性能|实验结果|性能与评价|方法在[^：:\n]{0,30}|Task and [Pp]erformance|Results?",
    "conclusion": "结论|Conclusions?",
    "innovation": "创新(?:点|性)|Innovation(?: [Pp]oints?)?",
    "performance": "性能|Performance",
    "workload": "工作量|Workload",
}
_FIELD = {f"f{number}": name for number, name in enumerate(_LABELS)}
_LABEL = re.compile(
    r"(?:^|(?<=[;；，,。]))[ \t]*(?:[（(]?\d{1,2}[)）.、：:]+[ \t]*){0,3}(?:"
    + "|".join(f"(?P<{group}>{_LABELS[name]})" for group, name in _FIELD.items())
    + r")[ \t]*(?:（[^）\n]{0,40}）|\([^)\n]{0,40}\))?[ \t]*[：:？]",
    re.MULTILINE,
)
_ITEM = re.compile(r"^[ \t]*(?:[（(]\d{1,2}[)）][：:]?|\d{1,2}[.、])\s*", re.MULTILINE)
_TAG = re.compile(r"<[^<>\n]{0,300}>")
LARGEST = 200_000  # characters; the rest is not looked at


def fields_of(block: str) -> dict[str, str]:
    """The fields of a long block on one line each; a field told twice keeps both texts, the same text is kept once."""
    text = html.unescape(_TAG.sub("", block[:LARGEST]))
    found = list(_LABEL.finditer(text))
    fields: dict[str, list[str]] = {}
    ends = [label.start() for label in found[1:]] + [len(text)]
    for label, end in zip(found, ends, strict=False):
        told = " ".join(_ITEM.sub("", text[label.end() : end]).split()).strip(" ，,;；")
        values = fields.setdefault(_FIELD[str(label.lastgroup)], [])
        if told and told not in values:
            values.append(told)
    return {name: " ".join(values) for name, values in fields.items() if values}


def print_fields(fields: Mapping[str, object], escape_html: Callable[[str], str]) -> str:
    """Fields as a valid HTML list, the inverse of :func:`read_fields`."""
    items = [
        f"<li><b>{name}</b>: {escape_html(str(told))}</li>" for name, told in fields.items() if re.fullmatch(r"\w{1,40}", name)
    ]
    return "\n".join(["<ul>", *items, "</ul>"]) if items else ""


def read_fields(block: str) -> dict[str, str]:
    """The fields that :func:`print_fields` wrote."""
    return {name: html.unescape(told) for name, told in re.findall(r"^<li><b>(\w+)</b>: (.*)</li>$", block, re.MULTILINE)}


def language_of(text: str) -> str:
    """The language of a note by its script: zh, ja, ko, ru, else en."""
    for language, script in (
        ("ja", "[\u3040-\u30ff]"),
        ("ko", "[\uac00-\ud7a3]"),
        ("zh", "[\u4e00-\u9fff]"),
        ("ru", "[\u0400-\u04ff]"),
    ):
        if len(re.findall(script, text)) * 10 > len(text):
            return language
    return "en"
