"""OVAM: heat maps of any words over a generated picture, also of words that the prompt does not hold.

Marcos-Manchon et al., 2024, "Open-Vocabulary Attention Maps with Token Optimization for Semantic Segmentation in Diffusion Models",
arXiv:2403.14291. Cross-attention compares queries of the picture with keys of the text. The queries do not depend on which text is
asked about afterwards, so they are kept while the picture is made, and any attribution sentence X is compared with them later:

    S = scale * Q (X W_k)^T,   map_token = sum over blocks, resized, of  sum over steps and heads of softmax over tokens of S

No network is run again. The softmax is over the tokens of the attribution sentence, so the map of one token depends on the others;
the start mark acts as background. Blocks of the middle are skipped. The released hook reads the unconditional half of the guidance
batch by default, and so does this one (``row``).

A token can be learned from one annotated picture: two embeddings (background, object), started from the start mark's and the word's,
so that the two maps, as mean probabilities, agree with the mask under cross-entropy (plain SGD; the maps are used as logits, as in the
released code). Only the embeddings move; the queries are those already kept.

Masks: a map over its maximum, above a threshold (the authors: 0.4 for words, 0.75 for learned tokens); they refine with a dense
conditional random field, here an edge-preserving guided filter on the picture does it (``refine``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from diffolio.errors import BadInput, Unsupported
from diffolio.registry import Technique, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.seams import Site


@method(paper="2403.14291", family="perception", works_on={"unet"})
@dataclass(frozen=True)
class OVAM(Technique):
    """Keeps the cross-attention queries of a run; ``model.reports["ovam"]`` then answers for any words. The picture is unchanged."""

    row: str = knob("uncond", choices=("uncond", "cond", "both"), means="guidance row whose queries are read")
    words: str = knob("", means="comma-separated words to show with `diffolio run`; empty: the kinds and colours of the prompt")
    threshold: float = knob(0.4, between=(0.0, 1.0), means="share of a map's maximum above which a pixel belongs to the word")

    def neutral(self) -> OVAM:
        return self  # it only watches

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        maps = AttentionMaps(model, self.threshold)
        model.reports[self.name] = maps

        def keep(site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
            if site.step == 0 and maps.steps_seen(site.path) > 0:
                maps.queries.clear()  # a new picture
            rows = [r for r in (("uncond", "cond") if self.row == "both" else (self.row,)) if r in site.rows] or ["cond"]
            q = q.detach().reshape(len(site.rows), site.samples, *q.shape[1:])
            maps.keep(site.path, q[[site.rows.index(r) for r in rows]], site.grid)

        where = lambda site: site.kind == "cross" and not site.path.startswith("mid_block")  # noqa: E731
        with model.seams.attention(qkv=keep, where=where, name=self.name):
            yield model

    def run(self, job: Job) -> Result:
        """The pictures, and for each its words' heat maps laid over it."""
        from diffolio.results import Result

        plain = job.sample()
        with self.on(job.model) as model:
            images = job.sample()
        maps: AttentionMaps = model.reports[self.name]
        rows = {"picture": images}
        asked = [w.strip() for w in self.words.split(",") if w.strip()]
        for place in range(max(len(asked), 2)):
            overlays = []
            for i, prompt in enumerate(job.prompts):
                words = asked or content_words(prompt)
                word = words[min(place, len(words) - 1)]
                heat = maps.word(word, prompt if word in prompt else None, size=images.shape[-2:])[i]
                overlays.append(overlay(images[i], heat))
            rows[f"word {place + 1}"] = torch.stack(overlays)
        unchanged = float(torch.equal(plain, images))
        return Result(
            rows, {"picture_unchanged": unchanged}, {"words": asked or [content_words(p) for p in job.prompts]}, job.prompts
        )


@dataclass
class AttentionMaps:
    """The kept queries: per block a list over steps of (rows, B, heads, tokens, d), and the block's grid (h, w)."""

    model: Model
    threshold: float = 0.4
    queries: dict[str, list[Tensor]] = field(default_factory=dict)
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)

    def keep(self, path: str, q: Tensor, grid: tuple[int, ...] | None) -> None:
        if grid is None or len(grid) != 2:
            raise Unsupported(f"ovam: the queries at {path} are no grid of image cells (another technique changed their number?)")
        self.queries.setdefault(path, []).append(q)
        self.grids[path] = (grid[0], grid[1])

    def steps_seen(self, path: str) -> int:
        return len(self.queries.get(path, ()))

    def maps(self, text: str | Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Mean probability of every token of an attribution sentence: (B, tokens, H, W).

        ``text`` is a sentence (its start and end marks count as tokens) or embeddings (tokens, d). ``size`` in pixels; None: the
        largest grid.
        """
        if not self.queries:
            raise BadInput("ovam has seen no step yet: sample with the model inside the `with` block first")
        states = self.encode(text) if isinstance(text, str) else text
        largest = max(self.grids.values())
        total: Tensor | float = 0.0
        for path, steps in self.queries.items():
            total = total + interpolate(self._block(path, steps, states), largest, mode="bilinear")
        result = total / len(self.queries)
        assert isinstance(result, Tensor)
        return result if size is None else interpolate(result, tuple(size), mode="bilinear")

    def _block(self, path: str, steps: list[Tensor], states: Tensor) -> Tensor:
        """Mean over steps, rows and heads of the probabilities in one block: (B, tokens, h, w)."""
        attention = self.model.denoiser.get_submodule(path)
        width = attention.to_k.in_features
        if states.shape[-1] != width:
            raise BadInput(f"token embeddings of width {states.shape[-1]}; the cross-attention at {path} needs {width}")
        keys = attention.to_k(states.to(steps[0].dtype))
        keys = keys.view(len(states), attention.heads, -1).transpose(0, 1)  # (heads, tokens, d)
        q = torch.stack(steps)  # (steps, rows, B, heads, n, d)
        scores = torch.einsum("srbhnd,htd->srbhnt", q, keys) * attention.scale
        mean = scores.softmax(-1).mean((0, 1, 3))
        return mean.transpose(1, 2).unflatten(-1, self.grids[path])

    def encode(self, text: str) -> Tensor:
        """The text encoder's states of a sentence without padding, (tokens, d): start mark, words, end mark."""
        if not text.strip():
            raise BadInput("an empty attribution sentence: give at least one word")
        tokenizer = self.model.pipeline.tokenizer
        length = len(tokenizer(text).input_ids)
        if length > tokenizer.model_max_length:
            raise BadInput(
                f"an attribution sentence of {length} tokens; the text encoder takes {tokenizer.model_max_length}: shorten it"
            )
        with torch.no_grad():
            states = self.model.condition([text]).rows["cond"]["encoder_hidden_states"]
        return states[0, :length]

    def word(self, word: str, sentence: str | None = None, size: tuple[int, int] | None = None) -> Tensor:
        """The map (B, H, W) of a word or phrase, mean over its tokens, in an attribution sentence (the word alone by default)."""
        sentence = sentence or word
        return self.maps(sentence, size)[:, self.model.token_span(sentence, word)].mean(1)

    def mask(
        self, word: str | Tensor, sentence: str | None = None, *, threshold: float | None = None,
        size: tuple[int, int] | None = None, refine: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Where a word, or a learned token (2, d), is: bool (B, H, W). ``refine``: the pictures (B, 3, H, W), for sharper borders."""
        heat = self.maps(word, size)[:, 1] if isinstance(word, Tensor) else self.word(word, sentence, size)
        heat = heat / heat.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        if refine is not None:
            from kornia.filters import guided_blur

            heat = guided_blur(refine, heat[:, None], 5, 1e-3)[:, 0]
        return heat > (self.threshold if threshold is None else threshold)

    def fit_token(
        self, mask: Tensor, word: str, *, steps: int = 800, rate: float = 100.0, decay: float = 0.7, every: int = 100
    ) -> Tensor:
        """Learn (background, object) embeddings (2, d) from the first kept pictures' masks, bool (B, H, W).

        SGD without momentum, the rate times ``decay`` every ``every`` steps; the embedding of the lowest loss is returned.
        """
        if mask.dtype != torch.bool or mask.ndim != 3:
            raise BadInput(f"a mask of type {mask.dtype}, shape {tuple(mask.shape)}: give bool (B, H, W)")
        states = self.encode(word)
        token = torch.stack([states[0], states[1:-1].mean(0)]).clone().requires_grad_(True)
        target = torch.stack([~mask, mask], 1).to(token.dtype)
        optimizer = torch.optim.SGD([token], lr=rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, every, decay)
        best, lowest = token.detach().clone(), float("inf")
        with torch.enable_grad():
            for _ in range(steps):
                loss = cross_entropy(self.maps(token, mask.shape[-2:]), target)
                if loss.item() < lowest:
                    best, lowest = token.detach().clone(), loss.item()
                (token.grad,) = torch.autograd.grad(loss, token)
                optimizer.step()
                schedule.step()
        return best

    def as_dict(self) -> dict[str, object]:
        return {
            "blocks": {path: list(grid) for path, grid in self.grids.items()},
            "steps": max(map(len, self.queries.values()), default=0),
        }


@torch.no_grad()
def attribute(
    model: Model, images: Tensor, *, at: tuple[float, ...] = (0.15, 0.3, 0.5), seed: int = 0, method: OVAM | None = None
) -> AttentionMaps:
    """Maps over given pictures (B, 3, H, W): each is noised to shares ``at`` of the schedule and shown to the network once per share.

    Not in the paper, which reads generated pictures only. The text is empty, so the conditional row serves as either.
    """
    latents = model.encode(images)
    condition = model.condition([""] * len(images))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents)
    length = model.scheduler.config.num_train_timesteps
    with (method or OVAM(row="cond")).on(model):
        for share in at:
            t = torch.tensor(int(share * length))
            model.predict(model.scheduler.add_noise(latents, noise, t), t, condition)
    maps: AttentionMaps = model.reports[OVAM.name]
    return maps


def content_words(prompt: str) -> list[str]:
    """The words of a prompt that name something: nouns of the world if there are any, else its longest words."""
    from diffolio.worlds.tabletop import KIND_NAMES

    words = prompt.replace(",", " ").split()
    named = [word for word in words if word in KIND_NAMES]
    return named or sorted(dict.fromkeys(words), key=len, reverse=True)[:2] or [prompt]


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """A heat map (H, W) over a picture (3, H, W): grey where cold, coloured where hot."""
    from matplotlib import colormaps

    heat = (heat - heat.amin()) / (heat.amax() - heat.amin()).clamp_min(1e-12)
    hot = torch.tensor(colormaps["inferno"](heat.cpu().numpy())[..., :3], dtype=image.dtype).permute(2, 0, 1)
    return 0.35 * image.mean(0, keepdim=True) + 0.65 * hot
