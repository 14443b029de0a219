"""Issues made up by chance in the three grammars, written here by hand-made templates and not by the code under test.

Each maker gives the text of a file and the entries that a reader must find in it. The texts hold what titles, abstracts and
names of real papers hold, and what would break a careless reader.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from diffolio.papers.record import Entry, ImportedSummary, Issue

WORDS = (
    "sampling", "guidance", "noise", "latent", "prior", "score", "bridge", "kernel", "video", "motion", "depth", "pose",
    "hand", "face", "scene", "token", "layer", "cache", "step", "we", "propose", "a", "method", "that", "halves", "the",
    "cost", "of", "training", "while", "results", "improve", "on", "two", "benchmarks", "without", "any", "tuning",
)  # fmt: skip
NASTY = (
    "[", "]", "](", ")**", "](http://arxiv.org/abs/2401.00001v1)", "[x](javascript:alert(1))", "*", "**", "***bold***", "_", "__x__",
    "`", "``", "`cs.CV`", "`arXiv:2401.00001`", "$", "$$", "$x_i^2$", "$\\alpha < \\beta$", "$O(n\\log n)$", "<", ">", "&", "&lt;",
    "&amp;amp;", "<b>", "</b>", "<script>alert('x')</script>", "<!-- x -->", "-->", "</details>", "<details open>", "<summary>", "##",
    "# x", "- **[x](y)**", "---", "+", "1.", "12)", "=", "~", "~~", "|", "\\", "\\\\", "\\(", "\\textit{x}", "{\\deg}", "%", "35\\%",
    "``x''", "T2*", "C#", "\u202eabc\u202c", "שלום", "مرحبا", "🔍", "👩‍🔬", "é", "e\u0301", "ü ç ¬", "图像生成", "：", "·",
    "\u00a0", "\u2028", "\x85", "\x0b",
    "\x1c", "\ufeff", "https://github.com/a_b/c_d.git", "https://x.org/?a=1&b=_2_", "http://x.org/(y)", "a_b", "snake_case_name",
    "et al.", ", ", ",", "[PDF](x)", "**Summary**", "**Authors:x**", " * link:[x](x)", "  * ", "2401.00002",
)  # fmt: skip
CATEGORIES = ("cs.CV", "cs.LG", "cs.AI", "cs.RO", "eess.IV", "stat.ML", "math.NA", "q-bio.QM", "hep-th")
NAMES = ("Ada Example", "Bo Ünal", "José María de la Cruz", "李 明", "O'Neil", "Jan v. d. Berg", "Zoë", "X. Æ. A-12", "Anne-Marie",
         "Müller_K", "Wei* Huawei", "A. <b>", "K. [K] L.", "K. \\'Etude", "$\\mathcal{N}$ame")  # fmt: skip


def text_of(rng: random.Random, least: int, most: int, lines: bool = False) -> str:
    """Words with something nasty among them. With ``lines``, some line ends, also before ``##``."""
    parts = [rng.choice(NASTY) if rng.random() < 0.25 else rng.choice(WORDS) for _ in range(rng.randint(least, most))]
    # Words stand at both ends: what readers trim there is no part of a text.
    printed = " ".join([rng.choice(WORDS), *parts, rng.choice(WORDS)])
    if rng.random() < 0.1:
        printed = printed.replace(" ", "   ", 1)
    if rng.random() < 0.3:
        printed = printed.replace(" ", "", 1)
    if lines and rng.random() < 0.2:
        printed += f"\n## {rng.choice(WORDS)}\n{rng.choice(WORDS)}"
    return printed


def id_of(rng: random.Random, month: str) -> str:
    if rng.random() < 0.05:
        return f"{rng.choice(('hep-th', 'cs', 'math', 'cond-mat'))}/{rng.randint(92, 99)}{rng.randint(1, 12):02}{rng.randint(1, 999):03}"
    return f"{month[2:4]}{month[5:7]}.{rng.randint(1, 99_999):05}"


def authors_of(rng: random.Random) -> tuple[tuple[str, ...] | None, bool]:
    n = 500 if rng.random() < 0.02 else rng.choice((0, 1, 1, 2, 3, 4, 6, 6))
    return (tuple(f"{rng.choice(NAMES)} {rng.choice('ABCDEFG')}" for _ in range(n)) or None), n > 0 and rng.random() < 0.3


def day_of(rng: random.Random) -> str:
    return f"20{rng.randint(16, 30)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.split("\n")).strip()


def _entries(rng: random.Random, month: str) -> list[str]:
    return list(dict.fromkeys(id_of(rng, month) for _ in range(rng.choice((0, 1, 2, 3, 5, 8)))))


def topic_list(rng: random.Random) -> tuple[str, list[Entry]]:
    day, topic = day_of(rng), rng.choice(("Diffusion", "3D Generation", "图像", "C++ [x] & y"))
    blocks, entries = [], []
    for base in _entries(rng, day):
        version = rng.choice((None, 1, 2, 17))
        link = f"http://arxiv.org/abs/{base}v{version}" if version else f"https://arxiv.org/abs/{base}"
        title, abstract = text_of(rng, 1, 12), text_of(rng, 5, 60, lines=True)
        authors, cut = authors_of(rng)
        categories = tuple(rng.sample(CATEGORIES, rng.randint(0, 4)))
        printed = ", ".join([*(authors or ()), "et al."] if cut else authors or ())
        badges = " ".join(f"`{category}`" for category in categories)
        opened = rng.choice(("<details open>", "<details>"))
        blocks.append(
            f"- **[{title}]({link})**  `arXiv:{base}`  {badges}  \n  _{printed}_\n  {opened}<summary>Abstract</summary>\n"
            f"  {abstract}\n  </details>\n"
        )
        entries.append(Entry(base, {}, title, one_line(abstract), version, None, authors, cut, tuple(categories) or None))
    head = (
        f"# 🔍 {topic} Papers · {day}\n\n[![Total Papers](https://img.shields.io/badge/Papers-{len(entries)}-2688EB)]()\n"
        f"[![Last Updated](https://img.shields.io/badge/dynamic/json?url=https://api.github.com/repos/someone/our-list/commits/main)]()\n"
        f"\n---\n\n## 📌 Filter by Category\n**Keywords**: `{topic}` `a,b`  \n**Filter**: `None`\n\n---\n\n## 📚 Paper List\n\n"
    )
    return head + "\n".join(blocks), entries


def overview(rng: random.Random) -> tuple[str, list[Entry]]:
    day, entries = day_of(rng), []
    printed = [f"# {day}--{day[:8]}28 {rng.choice(('生成式论文概览', 'Overview of papers'))}\n"]
    for base in _entries(rng, day):
        version = rng.randint(1, 3)
        title, abstract = text_of(rng, 1, 12), text_of(rng, 5, 60, lines=True)
        url = f"http://arxiv.org/abs/{base}v{version}"
        printed.append(f"## {title} \n  * {day}  \n  * {abstract} \n * link:[{url}]({url}) \n")
        entries.append(Entry(base, {}, title, one_line(abstract), version, date=day))
    return "".join(printed), entries


def blog(rng: random.Random) -> tuple[str, list[Entry]]:
    day, topic, entries = day_of(rng), rng.choice(("Diffusion Models", "人脸")), []
    printed = [
        f"\n---\ntitle: {topic}\ndate: {day} 10:00:00\nauthor: Somebody\ncategories: Paper\ntoc:\nmathjax: true\n---\n"
        f"\n>⚠️ written by a model\n\n# {day} 更新\n\n\n"
    ]
    for base in _entries(rng, day):
        version, long = rng.randint(1, 3), rng.random() < 0.6
        title, abstract, comments = text_of(rng, 1, 12), text_of(rng, 5, 60, lines=True), rng.choice(("", text_of(rng, 1, 6)))
        names = tuple(f"{rng.choice(NAMES)} {n}" for n in "ABC"[: rng.randint(1, 3)])
        summary, *bullets = (re.sub(r"[ \t\f\v]+", " ", text_of(rng, 2, 12)) for _ in range(rng.randint(2, 8)))
        labels = rng.choice((("**Summary**", "**Key Takeaways**"), ("**摘要**", "**要点**"), ("**Summary:**", "**关键见解**")))
        block, fields = "", {}
        if long:
            block = "**[Tool](https://example.org/tool)**\n\n<ol>\n<li>标题：某篇论文</li>\n<li>\n<p>方法：\n(1) 一步</p>\n</li>\n</ol>\n"
            fields = {"title": "某篇论文", "method": "一步"}
        pictures = '<details>\n  <summary>点此查看论文截图</summary>\n<img src="https://example.org/1.jpg">\n</details>'
        told = "\n".join(f"- {bullet}" for bullet in bullets)
        printed.append(
            f"## {title}\n\n**Authors:{', '.join(names)}**\n\n{abstract} \n\n[PDF](http://arxiv.org/abs/{base}v{version}) {comments}\n\n"
            f"{labels[0]}\n{summary}\n\n{labels[1]}\n{told}\n\n{block}" + ("\n\n" if long else "\n") + f"{pictures}\n\n\n\n\n"
        )
        entries.append(
            Entry(base, {}, title, one_line(abstract), version, None, names, comments=comments or None,
                  summary=ImportedSummary("", "", summary, tuple(bullets), fields))
        )  # fmt: skip
    return "".join(printed), entries


MAKERS = {"topic-list": topic_list, "overview": overview, "blog": blog}
FIELDS = {
    "topic-list": ("id", "title", "abstract", "version", "authors", "authors_cut", "categories"),
    "overview": ("id", "title", "abstract", "version", "date"),
    "blog": ("id", "title", "abstract", "version", "authors", "authors_cut", "comments"),
}


def facts(format: str, entry: Entry) -> dict[str, object]:
    """What this format can say of a paper, with the text on one line."""
    told = {name: getattr(entry, name) for name in FIELDS[format]}
    if format == "blog" and entry.summary:
        told |= {"summary": entry.summary.summary, "takeaways": entry.summary.takeaways, "fields": entry.summary.fields}
    return told


def plain_issue(rng: random.Random, format: str) -> Issue:
    """An issue as an importer would give it: every text on one line, single spaces."""
    _, entries = MAKERS[format](rng)
    day = day_of(rng)
    told = tuple(_single(entry, day if format == "overview" else None) for entry in entries)
    return Issue(
        format, rng.choice(("our list", "某系列")), rng.choice(("Diffusion", "C++ & <b>", None)), day[:8] + "01", day, told
    )


def _single(entry: Entry, day: str | None) -> Entry:
    summary = entry.summary
    if summary:
        takeaways = tuple(_spaces(told) for told in summary.takeaways)
        summary = replace(summary, summary=_spaces(summary.summary or ""), takeaways=takeaways)
    return replace(
        entry, title=_spaces(entry.title), abstract=_spaces(entry.abstract or ""), date=day, summary=summary,
        comments=_spaces(entry.comments) if entry.comments else None,
    )  # fmt: skip


def _spaces(text: str) -> str:
    return " ".join(text.split())
