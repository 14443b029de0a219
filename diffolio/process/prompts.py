"""The prompts inside a running pipeline: which text a sample is made from, and another text in its place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from diffolio.errors import Unsupported
from diffolio.seams.features import first

if TYPE_CHECKING:
    from diffolio.models import Model

TEXT = ("encoder_hidden_states", "encoder_attention_mask", "text_embeds", "pooled_projections")
REMEMBERED = 64  # calls of encode_prompt


class Heard:
    """The texts that a pipeline has encoded, found again by their embeddings."""

    def __init__(self) -> None:
        self.entries: list[tuple[list[str], Tensor]] = []

    def hear(self, prompts: list[str], embeddings: Tensor) -> None:
        """``embeddings`` (len(prompts) * n, L, D): those of one prompt stand together."""
        repeats = embeddings.shape[0] // len(prompts)
        self.entries = [*self.entries, ([p for p in prompts for _ in range(repeats)], embeddings.detach())][-REMEMBERED:]

    def of(self, embeddings: Tensor) -> list[str | None]:
        """The text of every embedding (B, L, D), None where it was never encoded here."""
        return [self._one(embedding) for embedding in embeddings]

    def _one(self, embedding: Tensor) -> str | None:
        for prompts, known in reversed(self.entries):
            if known.shape[1:] == embedding.shape:
                same = (known.to(embedding) == embedding).flatten(1).all(1).nonzero().flatten().tolist()
                if same:
                    return prompts[same[0]]
        return None


@contextmanager
def heard_prompts(model: Model) -> Iterator[Heard]:
    """Every text that the pipeline encodes inside is remembered; the pipeline's results are untouched."""
    pipeline, heard = model.pipeline, Heard()
    original = getattr(pipeline, "encode_prompt", None)
    if original is None:
        raise Unsupported(f"{type(pipeline).__name__} has no encode_prompt: its prompts cannot be told apart")
    signature = inspect.signature(original)
    had = pipeline.__dict__.get("encode_prompt")

    @functools.wraps(original)
    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        encoded = original(*args, **kwargs)
        prompt = signature.bind(*args, **kwargs).arguments.get("prompt")
        if prompt is not None and isinstance(encoded[0], Tensor):
            heard.hear([prompt] if isinstance(prompt, str) else list(prompt), encoded[0])
        return encoded

    pipeline.__dict__["encode_prompt"] = encode_prompt
    try:
        yield heard
    finally:
        if had is None:
            del pipeline.__dict__["encode_prompt"]
        else:
            pipeline.__dict__["encode_prompt"] = had


def text_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Of a denoiser's arguments those that come from the text alone (not sizes, images, residuals), nested as they were."""
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in TEXT and isinstance(value, Tensor):
            kept[name] = value
        elif isinstance(value, dict) and (inner := text_arguments(value)):
            kept[name] = inner
    return kept


def picked(tree: Any, index: Tensor, samples: int) -> Any:
    """The samples ``index`` of the arguments of one row of ``samples`` entries; what samples share stays."""
    if isinstance(tree, dict):
        return {name: picked(value, index, samples) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(picked(value, index, samples) for value in tree)
    return tree[index.to(tree.device)] if isinstance(tree, Tensor) and tree.ndim and tree.shape[0] == samples else tree


def with_samples(tree: dict[str, Any], index: Tensor, new: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``tree`` in which the samples ``index`` have the tensors of ``new``; other samples keep their bits."""
    changed = dict(tree)
    for name, value in new.items():
        if isinstance(value, dict):
            changed[name] = with_samples(tree[name], index, value)
        else:
            changed[name] = tree[name].index_copy(0, index.to(tree[name].device), value.to(tree[name]))
    return changed


def merged(arguments: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """The arguments with other text: tensors of ``text`` take the place of those of the same name."""
    out = dict(arguments)
    for name, value in text.items():
        out[name] = merged(arguments[name], value) if isinstance(value, dict) else value.to(arguments[name])
    return out


def forward_row(model: Model, arguments: dict[str, Any]) -> Tensor:
    """The network's prediction for the arguments of one row, in a batch of its own: the pipeline's batch keeps its bits.

    For use inside an editor of the denoiser seam; no editor of it sees this forward.
    """
    given = dict(arguments)
    latents = given.pop("latents")
    with model.seams.rows("cond"):
        output = model.denoiser(latents, **given)
    return first(output)[:, : latents.shape[1]]
