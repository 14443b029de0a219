"""A masked language model of half a million parameters on pairs of sentences: small enough to be trained where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.worlds.sentences import PAD, Pair, sample_pairs, vocabulary

if TYPE_CHECKING:
    from transformers import RobertaForMaskedLM

LENGTH = 12  # words of the longest pair
TRAIN_SEED = 30_000_000


class MiniSentences:
    """Objective: cross-entropy of hidden words given the others, any share of them hidden; seen words count a little too."""

    batch = 64
    seen = 0.2

    def __init__(self) -> None:
        from transformers import RobertaConfig, RobertaForMaskedLM

        self.words = vocabulary()
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.net: RobertaForMaskedLM = RobertaForMaskedLM(
            RobertaConfig(
                vocab_size=len(self.words), hidden_size=96, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192,
                max_position_embeddings=LENGTH + len(self.words), pad_token_id=self.ids[PAD], hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
        self.modules: dict[str, nn.Module] = {"net": self.net}

    @property
    def mask(self) -> int:
        """The id of the mask."""
        return len(self.words) - 1

    def tokens(self, pairs: list[Pair]) -> Tensor:
        """Word ids (B, 12) of pairs, padded."""
        padded = [[*pair.words, *[PAD] * (LENGTH - len(pair.words))] for pair in pairs]
        return torch.tensor([[self.ids[word] for word in words] for words in padded])

    def text(self, tokens: Tensor) -> list[list[str]]:
        """The words of ids (B, L)."""
        return [[self.words[i] for i in row] for row in tokens.tolist()]

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B, words, L) of ids (B, L); never of the mask. Padding is read as a word like any other."""
        read = self.net(tokens, attention_mask=torch.ones_like(tokens), position_ids=positions(tokens, self.ids[PAD])).logits
        return read[..., : self.mask].movedim(-1, 1)  # type: ignore[no-any-return]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = self.tokens(sample_pairs(self.batch, TRAIN_SEED + step)).to(self.net.device)
        share = torch.rand((self.batch, 1), generator=generator)
        hidden = (torch.rand(tokens.shape, generator=generator) < share).to(tokens.device)
        error = F.cross_entropy(self.logits(tokens.masked_fill(hidden, self.mask)), tokens, reduction="none")
        weight = torch.where(hidden, 1.0, self.seen)
        return (error * weight).sum() / weight.sum(), {}


def positions(tokens: Tensor, padding: int) -> Tensor:
    """Positions as RoBERTa counts them, from the padding's id on, but with padding counted too."""
    return (torch.arange(tokens.shape[1]) + padding + 1).expand(len(tokens), -1).to(tokens.device)
