"""How well broken texts are put right: charsets, words joined over deleted line ends, papers under two ids.

python benchmarks/papers/repairs.py [-n 1500]

``DIFFOLIO_ABSTRACTS`` names a JSON Lines file (``id`` and ``abstract`` or ``summary``) with abstracts to test on, as arXiv's
metadata dump; only papers that were never counted are used (build_words.held_out). Without it texts made here are used.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from build_words import abstracts, held_out, seed_ids
from common import SEEDS, row

from diffolio.papers.joins import FIRST, WIDTH, repair_joined
from diffolio.papers.record import Author, Record
from diffolio.papers.text import collapse_spaces, display, fold, repair_charset
from diffolio.papers.tokens import shipped
from diffolio.papers.works import propose

# Words and signs of many languages; made-up headings of digests are strung together from them.
FOREIGN = {
    "fr": "modèles générés à partir d'une légère idée où ça déjà naïf cœur été l'œuvre",
    "de": "größere Bilder für schöne Räume Übertragung natürlich heißt Lösung",
    "es": "generación de imágenes señal año también más rápido según",
    "pl": "obrazów źródło łatwość dźwięk żółty więcej ścieżka",
    "cs": "příliš žluťoučký kůň úpěl ďábelské ódy řešení",
    "vi": "mô hình khuếch tán ảnh tạo sinh",
    "ru": "модель порождает изображения из шума быстро",
    "el": "μοντέλο διάχυσης εικόνας και ήχου",
    "zh": "扩散 模型 生成 图像 论文 更新 方法 视频 概览 今日",
    "ja": "拡散モデル による 画像 生成 の 論文 を 紹介",
    "ko": "확산 모델 이미지 생성 논문 소개",
    "signs": "· — “quoted” ’s … × ± ≤ → ∞ ≈ 30° µm ½ © •",
    "emoji": "🔍 📌 📚 🚀 ✨ 🔥",
}
ENGLISH = "Diffusion Papers 2025-03-31 image generation v2 (new) Filter by Category LoRA 3D-aware ControlNet code"
WRONG = ("mac_roman", "cp1252", "latin-1", "cp437", "gbk", "cp1252 twice")


def heading(rng: random.Random, language: str) -> str:
    """A line of English with words of one language in it."""
    words = FOREIGN[language].split()
    line = rng.sample(ENGLISH.split(), rng.randint(1, 5)) + rng.sample(words, rng.randint(1, min(5, len(words))))
    rng.shuffle(line)
    return " ".join(line)


def misread(text: str, charset: str) -> str | None:
    """UTF-8 read in another charset, as editors and browsers do; None where that loses characters."""
    if charset == "cp1252 twice":
        once = misread(text, "cp1252")
        return None if once is None else misread(once, "cp1252")
    data = text.encode()
    if charset == "cp1252":  # the five bytes without a character pass as control characters
        return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in data)
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return None


def charsets(n: int = 1000) -> None:
    rng = random.Random(0)
    texts: list[str] = []
    while len(texts) < n:
        text = heading(rng, rng.choice(list(FOREIGN)))
        if not text.isascii():
            texts.append(text)
    total = right = 0
    failed: dict[str, int] = {}
    for charset in WRONG:
        done = 0
        for i in range(20 * n):
            text = texts[i] if i < n else heading(rng, rng.choice(list(FOREIGN)))
            broken = misread(text, charset)
            if broken is None or broken == text or done == n:
                continue
            done += 1
            ok = repair_charset(broken)[0] == text
            right += ok
            failed[charset] = failed.get(charset, 0) + (not ok)
        total += done
    worst = ", ".join(f"{name} {n}" for name, n in failed.items() if n) or "none"
    row("charset repair", f"{right / total:.4%} of {total}; missed: {worst}", ">= 99.9 %", right >= 0.999 * total)
    changed = [text for text in texts if repair_charset(text)[0] != text]
    row("charset repair, right texts changed", f"{len(changed)} of {len(texts)}", "0", not changed)
    for name in ("000", "001"):
        for path in SEEDS.glob(f"{name}_*.txt"):
            mended, repairs = repair_charset(path.read_text("utf-8"))
            heads = sum(sign in mended for sign in ("# 🔍 ", " · 2025", "## 📌 ", "## 📚 "))
            row(
                f"charset repair, digest {name}",
                f"{len(repairs)} lines, {heads} of 4 signs",
                "3, 4",
                (len(repairs), heads) == (3, 4),
            )


def wrap(text: str) -> list[str]:
    """Lines as arXiv wraps them: broken at spaces only, the first shorter by its indent."""
    lines, line = [], ""
    for word in text.split():
        width = WIDTH if lines else FIRST
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def made_up(n: int, rng: random.Random) -> list[str]:
    """Abstracts of our own, put together from phrases."""
    starts = ["We present a method that", "This paper introduces a framework which", "We show that the proposed sampler"]
    does = ["removes noise from latent features", "edits a photograph without training", "reconstructs the surface of a scene"]
    hows = ["by matching attention maps across denoising steps", "with a small adapter on a frozen backbone", "in four steps"]
    finds = ["Experiments on three public benchmarks show lower error", "Users preferred our results in 71% of comparisons"]
    ends = ["while the memory use stays constant.", "at a fraction of the computational cost.", "and the code is available."]

    def sentences() -> str:
        return f"{rng.choice(starts)} {rng.choice(does)} {rng.choice(hows)}. {rng.choice(finds)} {rng.choice(ends)}"

    return [" ".join(sentences() for _ in range(rng.randint(2, 5))) for _ in range(n)]


def joined(n: int) -> None:
    path = os.environ.get("DIFFOLIO_ABSTRACTS")
    rng = random.Random(0)
    if path:
        known = seed_ids()
        texts = [text for id, text in abstracts([Path(path)]) if held_out(id) and id not in known]
        kind = "held-out abstracts"
        rng.shuffle(texts)
        texts = [text for text in texts if "\n\n" not in text][:n]
    else:
        texts, kind = made_up(min(n, 300), rng), "made-up abstracts"
    shipped()
    joins = exact = whole = flagged = good_flagged = seconds = 0
    for text in texts:
        text = " ".join(text.split())
        lines = wrap(text)
        start = time.perf_counter()
        found = repair_joined("".join(lines))
        seconds += time.perf_counter() - start
        ends, at = set(), 0
        for line in lines[:-1]:
            at += len(line)
            ends.add(at)
        joins += len(ends)
        exact += len(ends & set(found.breaks))
        right = ends == set(found.breaks)
        whole += right
        flagged += not right and found.confidence < 0.5
        good_flagged += right and found.confidence < 0.5
    wrong = len(texts) - whole
    row(f"joined words, {kind}", f"{exact / joins:.2%} of {joins} joins exact", ">= 97.5 %", exact >= 0.975 * joins)
    row("joined words, whole abstracts", f"{whole / len(texts):.2%} of {len(texts)} exact", ">= 80 %", whole >= 0.8 * len(texts))
    told = f"{flagged} of {wrong} wrong flagged, {good_flagged} of {whole} right ones too"
    if wrong >= 10:  # fewer say nothing
        row("joined words, flagged", told, ">= 80 % of the wrong", flagged >= 0.8 * wrong)
    clean = [" ".join(text.split()) for text in texts]
    changed = sum(repair_joined(text).text != text for text in clean)
    row("joined words, texts not joined changed", f"{changed} of {len(clean)}", "0", changed == 0)
    sentences = [part for text in clean for part in text.split(". ")]
    changed = sum(repair_joined(text).text != text for text in sentences)
    row("joined words, single sentences changed", f"{changed} of {len(sentences)}", "0", changed == 0)
    row("joined words, time", f"{seconds / len(texts) * 1000:.1f} ms an abstract", "<= 50 ms", seconds <= 0.05 * len(texts))
    for path in SEEDS.glob("001_*.txt"):
        lines = [line.strip() for line in path.read_text("utf-8").split("\n") if line.startswith("  ") and len(line) > 400]
        found = [repair_joined(line) for line in lines]
        n = sum(len(text.breaks) for text in found)
        row(
            "joined words, digest 001", f"{n} joins in {len(found)} abstracts", "375 (probe) in 21", n >= 375 and len(found) == 21
        )


@dataclass
class Pair:
    one: Record
    two: Record
    verdict: str  # merge, propose, nothing, or not merge


def pairs(n: int = 400) -> list[Pair]:
    """Two records that are one work, nearly one, or none, by construction."""
    rng = random.Random(1)
    found = []
    for i in range(n):
        title = f"{rng.choice(['Fast', 'Calm', 'Deep', 'Wide'])} {rng.choice(['sampling', 'editing', 'matching'])} of scene {i} by flows"
        abstract = f"In study {i} w" + made_up(1, rng)[0][1:] + f" Setting {rng.random():.6f} was used {i} times."
        names = (Author(f"Ada Lovelace{i}"), Author("Bo Ng"))
        other = (Author(f"Cem Osman{i}"), Author("Dee Park"))
        one = Record(f"2401.{i + 1:05}", "api", title, abstract, names)

        def two(title: str = title, abstract: str = abstract, names: tuple[Author, ...] = names, i: int = i) -> Record:
            return Record(f"2406.{i + 1:05}", "api", title, abstract, names)

        words = abstract.split()
        cases = [
            (two(), "merge"),
            (two(title.upper(), abstract.replace("We ", "We  ")), "merge"),
            (two(abstract="".join(wrap(abstract))), "merge"),
            (two(title=title.replace("flows", "\\emph{flows}"), names=names[:1]), "merge"),
            (two(names=other), "propose"),
            (two(abstract=" ".join(words[: int(0.8 * len(words))])), "propose"),
            (two(title="Another heading altogether for the same text"), "propose"),
            (two(title=title.replace("scene", "room"), abstract=abstract.replace("Setting", "The setting")), "propose"),
            (two(title=title + ", part II", abstract=made_up(1, random.Random(i))[0]), "not merge"),
            (two(abstract=made_up(1, random.Random(n + i))[0] + " Nothing else is alike here.", names=other), "nothing"),
            (Record(f"2406.{i + 1:05}", "api", "Erratum", "This paper has been withdrawn by the author.", names), "nothing"),
        ]
        record, verdict = cases[i % len(cases)]
        if i % len(cases) == 10:
            one = Record(one.id, "api", record.title, record.abstract, names)
        found.append(Pair(one, record, verdict))
    return found


def works() -> None:
    wrong = missed = proposed = wanted = merged = 0
    for pair in pairs():
        found = propose([pair.one, pair.two])
        said = "nothing" if not found else "merge" if found[0].merged else "propose"
        wrong += said == "merge" and pair.verdict != "merge"
        missed += pair.verdict == "merge" and said != "merge"
        merged += pair.verdict == "merge"
        wanted += pair.verdict == "propose"
        proposed += pair.verdict == "propose" and said == "propose"
    row("works, wrong merges", f"{wrong} of {len(pairs())} pairs", "0", wrong == 0)
    row("works, true ones merged", f"{merged - missed} of {merged}", "all", missed == 0)
    row("works, near ones proposed", f"{proposed} of {wanted}", "all", proposed == wanted)
    records = [record for pair in pairs() for record in (pair.one, pair.two)]
    together = [p for p in propose(records) if p.merged]
    verdicts = {frozenset((p.one.id, p.two.id)): p.verdict for p in pairs()}
    bad = [p for p in together if verdicts.get(frozenset(p.ids)) != "merge"]
    row(
        "works, all pairs in one library",
        f"{len(together)} merged, {len(bad)} wrongly",
        f"{merged}, 0",
        (len(together), len(bad)) == (merged, 0),
    )
    if SEEDS.is_dir():
        from diffolio.papers.importing import read_issue

        entries = [entry for path in sorted(SEEDS.glob("*.txt")) for entry in read_issue(path).entries]
        rows = [Record(e.id, "digest", e.title, e.abstract, tuple(map(Author, e.authors or ())) or None) for e in entries]
        ids = [p.ids for p in propose(rows) if p.merged]
        row("works, digests", f"{len(rows)} ids, {len(rows) - len(ids)} works", "126, 125", (len(rows), len(ids)) == (126, 1))


def speed() -> None:
    """A megabyte of what is hard to read."""
    units = ["\\emph{", "$", "https://", "https://a.b/(", "Ã©", "\\'", "(", "a", "```", "\\href{", "  ", "{"]
    hostile = [unit * (1_000_000 // len(unit)) for unit in units]
    from diffolio.papers.links import links_of

    worst, what = 0.0, ""
    for text in hostile:
        for call in (repair_charset, repair_joined, collapse_spaces, display, fold, lambda text: links_of(text, None)):
            start = time.process_time()
            call(text)
            took = time.process_time() - start
            if took > worst:
                worst, what = took, f"{getattr(call, '__name__', '')} on {text[:6]!r}"
    row("repairs, 1 MB of hostile text", f"{worst:.2f} s of CPU ({what})", "< 1 s", worst < 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=1500, help="abstracts to join and repair")
    args = parser.parse_args()
    charsets()
    joined(args.n)
    works()
    speed()


if __name__ == "__main__":
    main()
