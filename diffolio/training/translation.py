"""Training of a one-step translator between pictures: with pairs, or with two domains of which nothing belongs together.

pix2pix-Turbo and CycleGAN-Turbo (Parmar et al., 2024, arXiv:2403.12036, sections 3.2 and 3.3). With G(x, c) one pass through a
``OneStepGenerator``, a and b from the two domains, c_a and c_b their fixed captions, D_a and D_b a discriminator for each:

    unpaired   L_cycle(a, G(G(a, c_b), c_a)) + L_cycle(b, ...) + L_identity(b, G(b, c_b)) + L_identity(a, ...)
               + gan (L_GAN(D_b, G(a, c_b)) + L_GAN(D_a, G(b, c_a)))
    paired     l2 |G(x, c) - y|^2 + perceptual d(G(x, c), y) + text (1 - cos(G(x, c), c)) + gan L_GAN(D, G(x, c))

An objective makes one step on the sum, after one step of the discriminators on the same pictures; the released code takes a step
for each of the terms, discriminators last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.process.adversarial import Distance, cycle_loss, discriminator_loss, generator_loss, identity_loss
from diffolio.training.distill import OptimizerState

if TYPE_CHECKING:
    from diffolio.metrics.judge import Judge
    from diffolio.models.one_step import OneStepGenerator
    from diffolio.nets.feature_discriminator import Backbone, FeatureDiscriminator
    from diffolio.training.domains import Domains, Pairs

Similarity = Callable[[Tensor, list[str]], Tensor]
"""Pictures (B, 3, H, W) in [0, 1] and B prompts -> cosine similarity (B,), differentiable in the pictures."""


class Judges:
    """What tells a translator how it does: copies "a" of mini-clip and mini-perc, so that copies "b" remain independent of what was
    trained. Each is loaded when it is asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @cached_property
    def backbone(self) -> Backbone:
        """A discriminator's eyes."""
        from diffolio.nets.feature_discriminator import VisionFeatures

        return VisionFeatures(self.judge.model.vision_model, mean=self.judge.mean, std=self.judge.std)

    @cached_property
    def distance(self) -> Distance:
        """The perceptual distance."""
        from diffolio.metrics.perceptual import Perceptual

        return Perceptual(copy.deepcopy(Perceptual.load("a").net).to(self.device))

    @cached_property
    def judge(self) -> Judge:
        from diffolio.metrics.judge import Judge

        found = Judge.load("a")
        model: Any = copy.deepcopy(found.model)
        return Judge(model.to(self.device), found.tokenizer, found.mean, found.std)

    def similarity(self, images: Tensor, prompts: list[str]) -> Tensor:
        """CLIP's cosine of pictures and prompts (B,); texts are read on the CPU."""
        from diffolio.metrics.judge import Judge

        return (self.judge.features(images) * Judge.load("a").text(prompts).to(images.device)).sum(-1)


def bundled_judges(device: torch.device) -> Judges:
    """The judges on a device."""
    return Judges(device)


@dataclass(frozen=True)
class Weights:
    """What the terms weigh; the defaults are the paper's."""

    gan: float = 0.5
    cycle: float = 1.0
    cycle_perceptual: float = 10.0
    identity: float = 1.0
    identity_perceptual: float = 1.0
    l2: float = 1.0
    perceptual: float = 5.0
    text: float = 5.0


class Learned(nn.Module):
    """What a generator learns, as a module of its own: a checkpoint holds nothing else of it."""

    def __init__(self, generator: OneStepGenerator) -> None:
        super().__init__()
        self.kept = nn.ParameterList(generator.learned().values())


class Critics:
    """Discriminators by domain with an optimiser of their own, which the training loop's checkpoints carry."""

    def __init__(
        self, critics: dict[str, FeatureDiscriminator], rate: float, kind: str = "sigmoid", betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:  # fmt: skip
        self.nets, self.kind = nn.ModuleDict(critics).requires_grad_(False), kind
        self.state = OptimizerState(self.nets.parameters(), rate, betas)
        self.modules: dict[str, nn.Module] = {"critics": self.nets, "critics_optimizer": self.state}

    def teach(self, pictures: dict[str, tuple[Tensor, Tensor]]) -> float:
        """One step of all of them on (real, made) pictures by domain; no gradient reaches the generator."""
        self.nets.requires_grad_(True)
        try:
            losses = [discriminator_loss(self.nets[k](x), self.nets[k](y.detach()), self.kind) for k, (x, y) in pictures.items()]
            loss = torch.stack(losses).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            self.state.optimizer.step()
            self.state.optimizer.zero_grad(set_to_none=True)
        finally:
            self.nets.requires_grad_(False)
        return float(loss.detach())

    def judge(self, made: dict[str, Tensor]) -> Tensor:
        """What the generator minimises, summed over domains."""
        return torch.stack([generator_loss(self.nets[k](x), self.kind) for k, x in made.items()]).sum()


class Unpaired:
    """Objective of CycleGAN-Turbo. The generator has the directions "a2b" and "b2a"; ``crop`` in pixels, None for whole pictures."""

    def __init__(
        self, generator: OneStepGenerator, data: Domains, critics: Critics, perceptual: Distance, weights: Weights | None = None,
        *, batch: int = 1, crop: int | None = None,
    ) -> None:  # fmt: skip
        self.generator, self.data, self.critics, self.perceptual = generator, data, critics, perceptual
        self.weights, self.batch, self.crop = weights or Weights(), batch, crop
        self.words = [generator.text(caption) for caption in data.captions]
        self.modules: dict[str, nn.Module] = {"learned": Learned(generator), **critics.modules}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        a, b = (x.to(self.generator.model.device) for x in self.data.draw(self.batch, generator, self.crop))
        made_b, same_b = self.there(torch.cat([a, b]), generator).chunk(2)
        made_a, same_a = self.back(torch.cat([b, a]), generator).chunk(2)
        critic = self.critics.teach({"a": (a, made_a), "b": (b, made_b)})
        w, back_a, back_b = self.weights, self.back(made_b, generator), self.there(made_a, generator)
        cycle = sum(w.cycle * cycle_loss(x, y, self.perceptual, w.cycle_perceptual) for x, y in ((a, back_a), (b, back_b)))
        same = sum(
            w.identity * identity_loss(x, y, self.perceptual, w.identity_perceptual) for x, y in ((a, same_a), (b, same_b))
        )
        gan = self.critics.judge({"a": made_a, "b": made_b})
        told = {"cycle": cycle, "identity": same, "gan": gan}
        return cycle + same + w.gan * gan, {name: float(term.detach()) for name, term in told.items()} | {"critics": critic}  # type: ignore[union-attr,return-value]

    def there(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.generator(images, self.words[1], "a2b", generator=generator)  # type: ignore[no-any-return]

    def back(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.generator(images, self.words[0], "b2a", generator=generator)  # type: ignore[no-any-return]


class Paired:
    """Objective of pix2pix-Turbo: inputs and what each should become, by its caption."""

    def __init__(
        self, generator: OneStepGenerator, data: Pairs, critics: Critics, perceptual: Distance, similarity: Similarity,
        weights: Weights | None = None, *, batch: int = 1, crop: int | None = None,
    ) -> None:  # fmt: skip
        self.generator, self.data, self.critics, self.perceptual, self.similarity = (
            generator,
            data,
            critics,
            perceptual,
            similarity,
        )
        self.weights, self.batch, self.crop = weights or Weights(), batch, crop
        self.modules: dict[str, nn.Module] = {"learned": Learned(generator), **critics.modules}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        drawn, wanted, captions = self.data.draw(self.batch, generator, self.crop)
        drawn, wanted = (x.to(self.generator.model.device) for x in (drawn, wanted))
        made = self.generator(drawn, captions, generator=generator)
        critic = self.critics.teach({"b": (wanted, made)})
        terms = {
            "l2": nn.functional.mse_loss(made, wanted), "perceptual": self.perceptual(made, wanted).mean(),
            "text": 1 - self.similarity(made, captions).mean(), "gan": self.critics.judge({"b": made}),
        }  # fmt: skip
        loss = torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()
        return loss, {name: float(term.detach()) for name, term in terms.items()} | {"critics": critic}
