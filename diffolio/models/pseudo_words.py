"""Words that are vectors: embeddings that take the place of tokens behind a prompt. No vocabulary is changed.

Textual inversion (Gal et al., 2022, arXiv:2208.01618) adds rows to the embedding table; here the table's output is edited while one prompt
is encoded, at places that hold an ordinary token meanwhile, so that there is nothing to take back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported

if TYPE_CHECKING:
    from diffolio.models.model import Model

BETWEEN = " ."
"""What stands between a prompt and its pseudo-words."""


def check_one_encoder(model: Model) -> Any:
    """The pipeline, if its text is read by one CLIP encoder; Unsupported otherwise."""
    if len(model._architecture.readers(model.pipeline)) != 1 or type(model.pipeline.text_encoder).__name__ != "CLIPTextModel":
        raise Unsupported(f"{model.name}: pseudo-words are for pipelines with one CLIP text encoder, as Stable Diffusion's")
    return model.pipeline


def word_vectors(model: Model, text: str) -> Tensor:
    """The embeddings (n, D) of a text's tokens, without marks."""
    pipeline = check_one_encoder(model)
    ids = pipeline.tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False).input_ids[0]
    return pipeline.text_encoder.get_input_embeddings().weight[ids.to(model.device)].detach().float().clone()


def states_with(model: Model, prompts: Sequence[str], vectors: Tensor) -> Tensor:
    """Text states (B, L, D) of "prompt . <vectors>", with gradients to ``vectors`` (n, D). BadInput if the encoder does not read it all."""
    pipeline = check_one_encoder(model)
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    limit, n = tokenizer.model_max_length, len(vectors)
    table = encoder.get_input_embeddings()
    if vectors.dim() != 2 or vectors.shape[1] != table.embedding_dim:
        raise BadInput(f"pseudo-words of shape {tuple(vectors.shape)}: {model.name} has words of {table.embedding_dim} numbers")
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = torch.full((len(prompts), limit), pad)
    places = torch.zeros(len(prompts), limit, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        own = tokenizer(prompt + BETWEEN, add_special_tokens=False, verbose=False).input_ids
        if len(own) + n + 2 > limit:
            raise BadInput(
                f"the prompt {prompt!r} takes {len(own)} tokens and the pseudo-words {n}: with two marks that is more than the {limit} "
                "that the text encoder reads; shorten the prompt"
            )
        row = [begin, *own, *[pad] * n, end]
        ids[i, : len(row)] = torch.tensor(row)
        places[i, 1 + len(own) : 1 + len(own) + n] = True
    places = places.to(model.device)

    def put(module: Any, args: Any, output: Tensor) -> Tensor:
        return output.masked_scatter(places[..., None], vectors.to(output).repeat(len(prompts), 1))

    handle = table.register_forward_hook(put)
    try:
        return encoder(ids.to(model.device)).last_hidden_state  # type: ignore[no-any-return]
    finally:
        handle.remove()
