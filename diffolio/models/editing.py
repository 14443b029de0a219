"""What an edit needs of a model's text side: which tokens of two prompts answer each other, and the source as the null prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.condition import Condition
from diffolio.process.interpolation import slerp
from diffolio.seams.prompt_to_prompt import Alignment

if TYPE_CHECKING:
    from diffolio.models.model import Model


def aligned(model: Model, sources: Sequence[str], targets: Sequence[str], mode: str = "refine") -> Alignment:
    """Which tokens of the targets answer which of the sources; ``mode`` as in ``seams.prompt_to_prompt``."""
    _check_pairs(sources, targets)
    return Alignment.of(token_ids(model, sources), token_ids(model, targets), sequence_length(model), mode)


def token_ids(model: Model, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens that the denoiser's text sequence starts with, marks included, padding left out, cut where the encoder cuts.

    Of several tokenizers the first is read: those that stand side by side (SDXL) cut a text into the same tokens.
    """
    reader = model._architecture.readers(model.pipeline)[0]
    texts = [reader.text(prompt) for prompt in prompts]
    return [list(ids) for ids in reader.tokenizer(texts, truncation=True, max_length=reader.limit, padding=False).input_ids]


def sequence_length(model: Model) -> int:
    """How many tokens the denoiser's text sequence has, padding included."""
    return model._architecture.readers(model.pipeline)[0].limit


def word_mask(model: Model, prompts: Sequence[str], words: Sequence[str] | str) -> Tensor:
    """Where a word stands in each prompt: bool (B, L). One word for all, or one each. UnknownName if a prompt does not hold it."""
    each = [words] * len(prompts) if isinstance(words, str) else list(words)
    mask = torch.zeros(len(prompts), sequence_length(model), dtype=torch.bool)
    for row, prompt, word in zip(mask, prompts, each, strict=True):
        row[model.token_span(prompt, word)] = True
    return mask


@torch.no_grad()
def source_as_null(model: Model, sources: Sequence[str], targets: Sequence[str], interpolation: float = 0.0) -> Condition:
    """The condition of 2P samples, sources and then their targets, in which every null row is the *source's* conditional one.

    Negative-prompt inversion (Miyake et al., 2023, arXiv:2305.16807): with it, guidance leaves the source as it was
    inverted and pushes the target away from it. ``interpolation`` goes on the sphere towards the model's own null (1).
    """
    _check_pairs(sources, targets)
    condition = model.condition([*sources, *targets])
    pairs = len(sources)

    def null(cond: Tensor, uncond: Tensor) -> Tensor:
        start = torch.cat([cond[:pairs]] * 2)
        return slerp(start, uncond, interpolation) if interpolation > 0 else start

    return condition.with_row("uncond", **_paired(null, condition["cond"], condition["uncond"]))


def _paired(change: Callable[[Tensor, Tensor], Tensor], first: Any, second: Any) -> Any:
    """``change`` the tensors of two nested dictionaries of one form; what is no tensor is taken from the first."""
    if isinstance(first, Tensor):
        return change(first, second)
    if isinstance(first, dict):
        return {key: _paired(change, value, second[key]) for key, value in first.items()}
    return first


def _check_pairs(sources: Sequence[str], targets: Sequence[str]) -> None:
    if len(sources) != len(targets) or not sources:
        raise BadInput(f"{len(sources)} source and {len(targets)} target prompts: give at least one, and as many of both")
