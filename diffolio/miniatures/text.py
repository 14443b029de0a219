"""The text side of the miniatures: a CLIPTokenizer with the world's own vocabulary, a small CLIPTextModel, and a T5Tokenizer."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffolio.worlds.tabletop import vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from transformers import CLIPTextConfig, CLIPTokenizer, T5Tokenizer

LENGTH = 32  # tokens, the start and end marks included; the grammar's longest caption takes 28


VOCABULARY = Path(__file__).with_name("vocabulary.json")


def tokenizer() -> CLIPTokenizer:
    """Byte-level BPE in which every word of the world is one token and any other text still has one (its letters).

    Read from a file that ``learned`` made once: learning breaks ties as a hash table lies, so that "of" and "on" may change places
    from one process to the next, and with them what a resumed training knows.
    """
    from transformers import CLIPTokenizer

    kept = json.loads(VOCABULARY.read_text(encoding="utf-8"))
    return CLIPTokenizer(vocab=kept["vocab"], merges=[tuple(merge) for merge in kept["merges"]], model_max_length=LENGTH)


def learned(words: list[str]) -> dict[str, Any]:
    """A vocabulary and merges by which each of ``words`` is one token, as ``VOCABULARY`` keeps them; another one in every process."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(words, trainer)
    found = json.loads(bpe.to_str())["model"]
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pieces += [piece for piece in found["vocab"] if piece not in set(pieces)]
    vocab = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return {"vocab": vocab, "merges": [list(merge) for merge in found["merges"]]}


@functools.cache
def t5_tokenizer(words: tuple[str, ...] | None = None) -> T5Tokenizer:
    """T5's tokenizer (Unigram) over ``words`` (the tabletop's); any other text is spelled in letters."""
    from transformers import T5Tokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = ["▁", *letters, *(f"▁{word}" for word in words or vocabulary())]
    # Longer pieces are likelier, so that a known word is one token.
    scores = [(piece, -1.0 if len(piece) > 1 else -10.0) for piece in dict.fromkeys(pieces)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -100.0)]
    return T5Tokenizer(vocab=[*special, *scores], extra_ids=0, model_max_length=120)


def token_ids(tokenizer: Any, captions: Sequence[str], length: int | None = LENGTH) -> Tensor:
    """Captions as token ids (B, length), padded and cut; None: as long as the longest of them, and none is cut."""
    padding = "longest" if length is None else "max_length"
    found: Tensor = tokenizer(
        list(captions), padding=padding, max_length=length, truncation=length is not None, return_tensors="pt"
    ).input_ids
    return found


def read(tokenizer: Any, encoder: Any, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token states (B, 32, width) and pooled states (B, width) of a CLIP with a projection, as pipelines of tokens take them."""
    found = encoder(token_ids(tokenizer, captions).to(encoder.device), output_hidden_states=True)
    return found.hidden_states[-2], found.text_embeds


def text_config(tokens: CLIPTokenizer, width: int, layers: int, heads: int = 4) -> CLIPTextConfig:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
