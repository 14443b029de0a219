"""Prompts as tokens: what a text encoder cuts off, and where a word stands."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffolio.errors import BadInput, UnknownName, nearest


class DiffolioWarning(UserWarning):
    """Something that is done, but probably not as its user thinks."""


@dataclass(frozen=True)
class Reader:
    """One text encoder's tokenizer: how many tokens it reads, and where they start in the denoiser's text sequence."""

    tokenizer: Any
    limit: int
    start: int = 0
    lower: bool = False  # the pipeline lowers and strips the prompt before this tokenizer sees it
    name: str = "text encoder"

    def text(self, prompt: str) -> str:
        return prompt.lower().strip() if self.lower else prompt

    def offsets(self, prompt: str) -> list[tuple[int, int]]:
        """Each token's (begin, end) in ``text(prompt)``, uncut; marks have (0, 0)."""
        found = self.tokenizer(self.text(prompt), return_offsets_mapping=True, verbose=False)
        return [(int(begin), int(end)) for begin, end in found["offset_mapping"]]

    def cut(self, prompt: str) -> str:
        """The end of the prompt, from its first word that is not wholly read; empty if all is read."""
        offsets = self.offsets(prompt)
        if len(offsets) <= self.limit:
            return ""
        text = self.text(prompt)
        first = offsets[self.limit - 1][0]  # the end mark takes the last place
        while first > 0 and not text[first].isspace() and not text[first - 1].isspace():
            first -= 1
        return text[first:].strip()


def warn_if_cut(prompts: Sequence[str], readers: Sequence[Reader]) -> None:
    """A DiffolioWarning for every prompt that some encoder does not read to its end, with the words that are cut."""
    for prompt in prompts:
        cuts = [(reader, rest) for reader in readers if (rest := reader.cut(prompt))]
        if not cuts:
            continue
        reader, rest = max(cuts, key=lambda found: len(found[1]))
        others = "" if len(cuts) == len(readers) else " (another encoder of the model reads them)"
        warnings.warn(
            f"the prompt {_short(prompt)!r} is longer than the {reader.limit} tokens that the {reader.name} reads: "
            f"{_short(rest, 300)!r} is cut off{others}; shorten the prompt",
            DiffolioWarning,
            stacklevel=4,
        )


def token_span(prompt: str, words: str, readers: Sequence[Reader]) -> list[int]:
    """Where ``words`` stand in the denoiser's text sequence: the positions of their tokens, every occurrence, ascending.

    A word is matched whole and whatever its case. UnknownName if the prompt does not hold it, BadInput if it is cut off.
    """
    if not words.strip():
        raise BadInput("an empty word: name a word or phrase of the prompt")
    positions: set[int] = set()
    for reader in readers:
        text = reader.text(prompt)
        pattern = r"\s+".join(re.escape(word) for word in words.split())
        spans = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)]
        if not spans:
            close = nearest(words.strip(), re.findall(r"\w+", text))
            advice = f" Did you mean {' or '.join(close)}?" if close else ""
            raise UnknownName(f"{words.strip()!r} is not in the prompt {_short(prompt)!r}.{advice}")
        tokens = [i for i, (begin, end) in enumerate(reader.offsets(prompt)) if any(begin < b and end > a for a, b in spans)]
        positions.update(reader.start + i for i in tokens if i < reader.limit - 1)
    if not positions:
        raise BadInput(
            f"{words.strip()!r} stands behind the part of the prompt that is read: shorten the prompt or move it forward"
        )
    return sorted(positions)


def listed(prompts: str | Sequence[str]) -> list[str]:
    """Prompts as a list. BadInput for none, or for what is not text."""
    found = [prompts] if isinstance(prompts, str) else list(prompts)
    if not found:
        raise BadInput("no prompt was given: give at least one, an empty text for none in particular")
    wrong = [prompt for prompt in found if not isinstance(prompt, str)]
    if wrong:
        raise BadInput(f"prompt {wrong[0]!r} is of type {type(wrong[0]).__name__}: prompts are texts")
    return found


def one_each(negative: str | Sequence[str] | None, n: int) -> list[str] | None:
    """One negative prompt a sample; None where all are empty."""
    if not negative or not any(negative):
        return None
    found = [negative] * n if isinstance(negative, str) else list(negative)
    if len(found) != n:
        raise BadInput(f"{len(found)} negative prompts for {n} prompts: give one, or one for each")
    return found


@contextmanager
def quiet_truncation() -> Iterator[None]:
    """The libraries' own notes on cut prompts are left out: ours names the words."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)


def _short(prompt: str, length: int = 60) -> str:
    return prompt if len(prompt) <= length else prompt[: length - 1] + "…"
