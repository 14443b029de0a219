"""The default summary: two to four sentences of the abstract itself, chosen, never rewritten.

A sentence earns its place by centrality (how much of the abstract's and title's vocabulary it shares), by the cue phrases
of the words table, and by where it stands. Nothing is learned or downloaded, and a verbatim sentence cannot be false.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from diffolio.papers.summaries import scan
from diffolio.papers.summaries.source import Source, url_spans
from diffolio.papers.summaries.summary import Bullet, Summary
from diffolio.papers.summaries.words import patterns

LONGEST = 0.6  # of the abstract
_COMMON = frozenset(
    """a an the of and or to in on for with by from as at is are be been was were this that these those it its their our we
    which can such into than also not but have has may more most both each other between through via using used use based
    while where when how what they them""".split()  # noqa: SIM905
)


def extract(record: Any) -> Summary:
    """The extractive summary of anything with a record's fields; no bullets where the abstract is missing.

    ``text`` and ``quote`` of a bullet are abstract[span], white space included as it stands there.
    """
    source = Source.of(record)
    abstract = source.abstract or ""
    spans = [span for span in _sentences(abstract) if re.search(r"[^\W\d_]{2}", abstract[slice(*span)])]
    chosen = _choose(abstract, source.title or "", spans)
    code = next(iter(source.urls_of("code") or source.urls_of("project")), None)
    bullets = tuple(
        Bullet(part, abstract[slice(*spans[i])], abstract[slice(*spans[i])], "abstract", spans[i]) for part, i in chosen
    )
    language = scan.language(abstract) if abstract else "en"
    return Summary(source.id, "extractive", language, bullets, version=source.version, code=code)


def _sentences(abstract: str) -> list[tuple[int, int]]:
    """Sentences of an abstract whose lines may be wrapped: a line break ends none."""
    return scan.sentences(abstract.replace("\n", " ").replace("\r", " "))


def _choose(abstract: str, title: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """(part, sentence) of two to four sentences in the order of the text."""
    if not spans:
        return []
    texts = [scan.folded(scan.clean(abstract[slice(*span)]).text) for span in spans]
    weight = _centrality(texts, title)
    links = {i for i, text in enumerate(texts) if _has("links", text) and len(text.split()) <= 30}
    free = [i for i in range(len(texts)) if i not in links] or list(range(len(texts)))
    what = max(free, key=lambda i: (_proposal(texts[i], i, len(texts), title) + weight[i], -i))
    chosen = {what: "what"}
    rest = [i for i in free if i != what]
    result = max(rest, key=lambda i: (_result(texts[i], i, len(texts)) + weight[i], i), default=None)
    if result is not None:
        chosen[result] = "result"
    between = [i for i in rest if i != result and i > what] or [i for i in rest if i != result]
    how = max(between, key=lambda i: (_how(texts[i], i, what) + weight[i], -i), default=None)
    if how is not None and len(spans) > 3 and _fits(spans, [*chosen, how]):
        chosen[how] = "how"
    last = max((i for i in links if url_spans(texts[i])), default=None)
    if last is not None and last not in chosen and _fits(spans, [*chosen, last]):
        chosen[last] = "code"
    return sorted(((part, i) for i, part in chosen.items()), key=lambda item: item[1])


def _fits(spans: Sequence[tuple[int, int]], chosen: Collection[int]) -> bool:
    lengths = [b - a for a, b in spans]
    return sum(lengths[i] for i in chosen) <= LONGEST * sum(lengths)


def _cues(key: str, text: str) -> int:
    """How many different cue phrases of a list a sentence has."""
    return len(set(map(str.lower, patterns("cues", key).findall(text))))


def _has(key: str, text: str) -> bool:
    return patterns("cues", key).search(text) is not None


def _words(text: str) -> list[str]:
    return [re.sub(r"(?:ies|es|s|ing|ed)$", "", word) for word in scan.words(text) if word not in _COMMON and len(word) > 1]


def _centrality(texts: Sequence[str], title: str) -> list[float]:
    """Cosine of each sentence to the others in TF-IDF space over the abstract's sentences, the title counting as three;
    the most central has 1."""
    bags = [Counter(_words(text)) for text in (*texts, title)]
    seen = Counter(word for bag in bags for word in bag)
    vectors = [{word: n * math.log(1 + len(bags) / seen[word]) for word, n in bag.items()} for bag in bags]
    norms = [math.sqrt(sum(x * x for x in vector.values())) or 1.0 for vector in vectors]

    # The sum of cosines to all others is one product with the sum of the unit vectors, minus the sentence's own 1.
    units = [{word: x / norm for word, x in vector.items()} for vector, norm in zip(vectors, norms, strict=True)]
    total: dict[str, float] = defaultdict(float)
    for unit, times in zip(units, [1.0] * len(texts) + [3.0], strict=True):
        for word, x in unit.items():
            total[word] += times * x
    scores = [sum(x * total[word] for word, x in unit.items()) - 1.0 for unit in units[:-1]]
    top = max(scores) or 1.0
    return [score / top for score in scores]


def _proposal(text: str, i: int, n: int, title: str) -> float:
    """How much a sentence looks like the one that says what the paper offers."""
    score = 3.0 * _has("propose", text) + 1.5 * _has("contribute", text) + 0.5 * _has("named", text)
    score += 1.0 * _has("aim", text) - 1.5 * _has("before", text) - 1.0 * _has("further", text)
    name = re.match(r"\W*([\w^*+-]{2,30})\s*:", title)
    if name and name[1].lower() in text.lower():
        score += 1.0
    return score - 0.8 * i / n


def _result(text: str, i: int, n: int) -> float:
    score = 0.8 * _cues("result", text) ** 0.7 + 1.2 * i / n
    return score - 1.0 * _has("before", text) + 0.5 * any(char.isdigit() for char in text)


def _how(text: str, i: int, what: int) -> float:
    return 0.8 * _cues("method", text) ** 0.7 - 0.15 * abs(i - what) - 1.0 * _has("before", text)
