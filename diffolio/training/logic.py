"""Learning a rule as pseudo-words: from pictures that obey it, against a parallel path that holds what the object's words explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.pseudo_words import states_with, word_vectors
from diffolio.process.prediction import Prediction, alpha_sigma

if TYPE_CHECKING:
    from diffolio.models import Model

ORCHARD_SEED = 72_000_000
"""Orchards to train on are drawn from here on."""


class Words(nn.Module):
    """The pseudo-words that are learned: ``vectors`` (n, D)."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start.clone())


class LearnLogic:
    """Objective: the noise in latents (N, C, h, w) of pictures that obey the rule, predicted with the pseudo-words in the prompt.

    With ``against`` g > 0 the prediction is eps_hat = eps_pos + g (eps_pos - sg(eps_neg)), eps_neg from the prompt alone; 0 is textual
    inversion. ``decorrelate`` weighs the mean squared cosine between the words' move and each of the prompt's own words.
    """

    def __init__(
        self, model: Model, latents: Tensor, captions: Sequence[str], words: Words, *, against: float = 1.5, decorrelate: float = 0.01,
        batch: int = 4,
    ) -> None:  # fmt: skip
        if len(latents) < 3 or len(latents) != len(captions):
            raise BadInput(
                f"{len(latents)} pictures and {len(captions)} captions: a rule is learned from at least 3, one caption each"
            )
        if any(not caption.strip() for caption in captions):
            raise BadInput("an empty caption: name the object of every picture, which is what the rule is not")
        self.model, self.latents, self.captions, self.words = model, latents, list(captions), words
        self.against, self.decorrelate, self.batch = against, decorrelate, batch
        self.start = words.vectors.detach().clone()
        self.objects = {caption: word_vectors(model, caption) for caption in set(captions)}
        self.modules: dict[str, nn.Module] = {"words": words}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        model, n = self.model, self.batch
        chosen = torch.randint(len(self.latents), (n,), generator=generator).tolist()
        prompts = [self.captions[i] for i in chosen]
        latents = self.latents[chosen].float().to(model.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        t = torch.randint(int(model.scheduler.config.num_train_timesteps), (n,), generator=generator).to(model.device)
        noisy = model.scheduler.add_noise(latents, noise, t)
        positive = self.predict(noisy, t, states_with(model, prompts, self.words.vectors))
        hat, told = positive, {}
        if self.against:
            with torch.no_grad():
                negative = self.predict(noisy, t, model.condition(prompts)["cond"]["encoder_hidden_states"])
            hat = positive + self.against * (positive - negative)
            told = {"apart": float((positive.detach() - negative).square().mean())}
        error = (noise - hat).square().mean()
        move = cosines(self.words.vectors.mean(0) - self.start.mean(0), torch.cat([self.objects[p] for p in prompts]))
        return error + self.decorrelate * move.square().mean(), {
            "plain": float((noise - positive.detach()).square().mean()),
            **told,
        }

    def predict(self, noisy: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """The noise (B, C, h, w) that the network sees with these text states."""
        model = self.model
        alpha, sigma = (level.to(noisy) for level in alpha_sigma(model.scheduler, t, noisy.dim()))
        raw = model.denoiser(noisy, t, encoder_hidden_states=states, return_dict=False)[0]
        return Prediction(raw.float(), noisy, alpha, sigma, model.prediction).noise


def cosines(move: Tensor, words: Tensor) -> Tensor:
    """Cosine (n,) of a vector (D,) with each of ``words`` (n, D); 0 for a vector of zeros."""
    return (words @ move) / (words.norm(dim=1) * (move.square().sum() + 1e-8).sqrt())
