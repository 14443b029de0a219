"""A UNet that denoises the layers of one picture together, each a picture and its mask.

A batch is B scenes of L layers, the background first, folded into the batch: (B L, 2 C, h, w) are [picture ; mask] of every layer. A
pretrained UNet is widened to read and give both (``models.joint_network``), and before each of its transformer blocks the layers look at
each other. Of masks the network gives the clean latents, whatever the base predicts: a mask can be told from the picture beside it, its
noise cannot, and a network that gives noise would have to learn to carry it through all of its depth before it could say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported
from diffolio.models.fingerprint import fingerprint
from diffolio.models.joint_network import JointNetwork, load_joint, save_joint
from diffolio.nets.layer_attention import InterLayerAttention, LayerEmbedding, PromptEnhancer
from diffolio.process.prediction import Prediction
from diffolio.seams.time_vector import time_vector

if TYPE_CHECKING:
    from diffolio.models.condition import Condition
    from diffolio.models.model import Model
    from diffolio.seams import Site

NAMES = ("image", "mask")
STATES = "encoder_hidden_states"


@dataclass(frozen=True)
class LayerTexts:
    """What B scenes of L layers are asked for: ``whole`` the condition of the B global prompts, ``each`` of the B L layer prompts."""

    whole: Condition
    each: Condition

    @property
    def layers(self) -> int:
        return len(self.each) // len(self.whole)


def read_texts(model: Model, prompts: Sequence[str], layer_prompts: Sequence[Sequence[str]]) -> LayerTexts:
    """Global prompts (B) and their layers' prompts (B lists of L, the background's first). BadInput if their numbers do not fit."""
    lengths = {len(one) for one in layer_prompts}
    if len(prompts) != len(layer_prompts) or len(lengths) != 1 or lengths == {0}:
        counts = [len(one) for one in layer_prompts]
        raise BadInput(
            f"{len(prompts)} global prompts and layer prompts {counts}: give each scene a prompt a layer, as many for all"
        )
    return LayerTexts(model.condition(list(prompts)), model.condition([text for one in layer_prompts for text in one]))


class LayerNetwork(nn.Module):
    """A widened copy of the model's UNet with attention between layers; the model itself is only read.

    ``layers``: how many it is made for. ``mask_input``: columns of the first convolution for the mask, as a multiple of the picture's;
    ``rank`` of LoRA (0: all weights train). ``inter_layer``, ``enhancer``, ``embedding`` leave parts out.
    """

    def __init__(
        self, model: Model, layers: int = 3, *, mask_input: float = 0.5, rank: int = 16, inter_layer: bool = True, enhancer: bool = True,
        embedding: bool = True, window: int = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings: dict[str, Any] = {
            "layers": layers, "mask_input": mask_input, "rank": rank, "inter_layer": inter_layer, "enhancer": enhancer,
            "embedding": embedding, "window": window,
        }  # fmt: skip
        self.layers = layers
        self.joint = JointNetwork(model, NAMES, inputs=(1.0, mask_input), outputs=(1.0, 0.0), rank=rank, seed=seed)
        config = self.joint.unet.config
        if not isinstance(text := config.cross_attention_dim, int):
            raise Unsupported(f"{model.name}: its levels read texts of several widths; give a UNet with one cross_attention_dim")
        blocks = transformer_blocks(self.joint.unet)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.paths = list(blocks) if inter_layer else []
            made = [InterLayerAttention(*blocks[path], text, window) for path in self.paths]
            self.inter = nn.ModuleList(made)
            self.enhancer = PromptEnhancer(text) if enhancer else None
        width = self.joint.unet.time_embedding.linear_2.out_features
        self.embedding = LayerEmbedding(layers, width) if embedding else None
        self.to(model.device)

    def learned(self) -> dict[str, nn.Parameter]:
        """What trains, by name."""
        joint = {f"joint.{name}": p for name, p in self.joint.learned().items()}
        return joint | {name: p for name, p in self.named_parameters() if not name.startswith("joint.")}

    def predict(
        self, model: Model, latents: Tensor, t: Tensor, texts: LayerTexts, rows: Sequence[str] = ("cond",),
        guidance_scale: float | None = None,
    ) -> dict[str, dict[str, Prediction]]:  # fmt: skip
        """What the network says of noisy ``latents`` (B L, 2 C, h, w) at the timesteps ``t`` (B L,), by row, by "image" and "mask"."""
        if texts.layers > self.layers:
            raise BadInput(
                f"{texts.layers} layers: this network was made for {self.layers}; train one for more, or ask for fewer"
            )
        if len(latents) != len(texts.each):
            raise BadInput(f"{len(latents)} layers of latents for {len(texts.each)} layer prompts: give one prompt a layer")
        times = t[:, None].expand(-1, len(NAMES))
        with self._on(model, texts) as condition:
            clean = torch.zeros_like(times, dtype=torch.bool)
            said = self.joint.predict(model, latents, times, clean, condition, rows, guidance_scale)
        return {row: {"image": one["image"], "mask": as_clean(one["mask"])} for row, one in said.items()}

    @contextmanager
    def _on(self, model: Model, texts: LayerTexts) -> Iterator[Condition]:
        """The network on the model, layers looking at each other, their prompts enhanced: the condition to be used inside."""
        layers, condition = texts.layers, texts.each
        modules = dict(zip(self.paths, self.inter, strict=True))

        def look(site: Site, x: Tensor) -> Tensor:
            stacked = x.unflatten(0, (-1, layers))
            whole = torch.cat([texts.whole[row][STATES] for row in site.rows]).to(x)
            grid = site.grid if site.grid is None else (site.grid[-2], site.grid[-1])
            return (stacked + modules[site.path](stacked, whole, grid)).flatten(0, 1)

        with ExitStack() as held:
            held.enter_context(self.joint.on(model))
            if modules:
                held.enter_context(model.seams.inputs(look, list(modules)))
            if (embedding := self.embedding) is not None:
                held.enter_context(time_vector(model.seams, lambda: embedding(layers).repeat(len(texts.whole), 1)))
            if self.enhancer is not None:
                for row in list(condition.rows):
                    own = condition[row][STATES].unflatten(0, (-1, layers))
                    states = self.enhancer(own, texts.whole[row][STATES]).flatten(0, 1)
                    condition = condition.with_row(row, **{STATES: states})
            yield condition


def as_clean(said: Prediction) -> Prediction:
    """The same output, read as clean latents."""
    return Prediction(said.raw, said.latents, said.alpha, said.sigma, "sample")


def transformer_blocks(unet: Any) -> dict[str, tuple[int, int]]:
    """Width and heads of every transformer block of a UNet, by its path."""
    found = {path: block for path, block in unet.named_modules() if type(block).__name__ == "BasicTransformerBlock"}
    if not found:
        raise Unsupported(f"{type(unet).__name__} has no transformer block beside which layers could look at each other")
    return {path: (block.attn1.to_q.in_features, block.attn1.heads) for path, block in found.items()}


def save_layers(network: LayerNetwork, folder: str | Path, model: Model, about: dict[str, Any] | None = None) -> Path:
    """Write what ``network`` learned (float16) and its record to ``folder``; the VAE in whose latents it was trained is recorded too."""
    return save_joint(network, folder, model, {**(about or {}), "vae": fingerprint(model.vae)})  # type: ignore[arg-type]


def load_layers(folder: str | Path, model: Model, any_base: bool = False) -> tuple[LayerNetwork, dict[str, Any]]:
    """The network in ``folder``, not trainable, and how it was trained; refused for another base or another VAE unless ``any_base``."""
    make: Callable[..., Any] = LayerNetwork
    network, about = load_joint(folder, model, any_base, make)
    if not any_base and about.get("vae") != fingerprint(model.vae):
        raise BadInput(
            f"the network in {folder} knows latents of another VAE than {model.name}'s: use the VAE that it was trained with"
        )
    return network, about  # type: ignore[return-value]
