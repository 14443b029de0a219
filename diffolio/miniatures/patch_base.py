"""A small base of its own for adapters of a world that mini-sd and mini-vae have not seen: Stable Diffusion's layout, on patches of pixels.

Its own text encoder, one token a word of the world, and patches of pixels in the place of latents, which lose nothing. It predicts the
clean picture, on Stable Diffusion's schedule brought to zero signal at its end (Lin et al., 2024, arXiv:2305.08891).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.miniatures.text import LENGTH, learned, text_config, token_ids
from diffolio.models.model import Model

WEIGHTS, TOKENIZER, SIZE = "base.safetensors", "tokenizer", 64


class PatchBase(ABC):
    """Objective: the squared error of the predicted clean patches, at uniform timesteps. A subclass says of which pictures and words."""

    name: str
    recipe: str  # that trains it: `diffolio train RECIPE`
    widths: tuple[int, ...] = (48, 64)
    text_width, factor, guidance_scale, batch = 48, 4, 3.0, 4

    def __init__(self, tokenizer: Any = None) -> None:
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel

        self.tokenizer = tokenizer or self.words()
        self.text_encoder = CLIPTextModel(text_config(self.tokenizer, width=self.text_width, layers=2))
        levels, channels = len(self.widths), 3 * self.factor**2
        self.unet: Any = UNet2DConditionModel(
            sample_size=SIZE // self.factor, in_channels=channels, out_channels=channels, block_out_channels=self.widths,
            layers_per_block=1, norm_num_groups=8, down_block_types=("DownBlock2D",) * levels, up_block_types=("UpBlock2D",) * levels,
            cross_attention_dim=self.text_width, attention_head_dim=4,
        )  # fmt: skip
        # After a last norm, what was dark and what was light would be told by the other pixels only; it takes long to learn around that.
        self.unet.conv_norm_out = None
        self.scheduler: Any = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True, clip_sample=False,
            timestep_spacing="trailing", prediction_type="sample", steps_offset=1,
        )  # fmt: skip
        self.modules: dict[str, nn.Module] = {"unet": self.unet, "text_encoder": self.text_encoder}

    @classmethod
    @abstractmethod
    def vocabulary(cls) -> Sequence[str]:
        """Every word of the captions, each of which is one token."""

    @abstractmethod
    def draw(self, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """A batch: pictures (B, 3, 64, 64) in [0, 1], and captions, some of them empty."""

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        images, captions = self.draw(generator)
        device = self.unet.device
        clean = F.pixel_unshuffle(images.to(device) * 2 - 1, self.factor)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        t = torch.randint(self.scheduler.config.num_train_timesteps, (len(clean),), generator=generator).to(device)
        states = self.text_encoder(token_ids(self.tokenizer, captions).to(device)).last_hidden_state
        return F.mse_loss(self.unet(self.scheduler.add_noise(clean, noise, t), t, states).sample, clean), {}

    def model(self) -> Model:
        """As a Model; its networks are this objective's, from now on in evaluation mode."""
        from diffusers import StableDiffusionPipeline

        from diffolio.nets.patch_autoencoder import PatchAutoencoder

        vae: Any = PatchAutoencoder(self.factor)
        pipeline: Any = StableDiffusionPipeline(
            vae, self.text_encoder, self.tokenizer, self.unet, self.scheduler, safety_checker=None, feature_extractor=None,  # type: ignore[arg-type]
            requires_safety_checker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        for part in self.modules.values():
            part.eval().requires_grad_(False)
        return Model(pipeline, name=self.name, guidance_scale=self.guidance_scale)

    def export(self, folder: Path) -> Path:
        """Write the networks (float16 safetensors) and the tokenizer."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        parts = {name: part.state_dict() for name, part in self.modules.items()}
        save_file(
            {f"{name}.{k}": v.detach().half().contiguous() for name, part in parts.items() for k, v in part.items()}, folder / WEIGHTS
        )  # fmt: skip
        self.tokenizer.save_pretrained(folder / TOKENIZER)
        return folder

    @classmethod
    def words(cls) -> Any:
        """A tokenizer of the vocabulary; another one in every process, so keep it."""
        from transformers import CLIPTokenizer

        kept = learned(cls.vocabulary())
        return CLIPTokenizer(vocab=kept["vocab"], merges=[tuple(merge) for merge in kept["merges"]], model_max_length=LENGTH)

    @classmethod
    def words_in(cls, folder: Path) -> Any:
        """The tokenizer in ``folder``; made and written there if there is none, so that a training that is taken up keeps its words."""
        from transformers import CLIPTokenizer

        if not (folder / TOKENIZER).is_dir():
            cls.words().save_pretrained(folder / TOKENIZER)
        return CLIPTokenizer.from_pretrained(folder / TOKENIZER)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Model:
        """The base that was written to ``folder``. BadInput if it is not there."""
        from safetensors.torch import load_file
        from transformers import CLIPTokenizer

        try:
            base = cls(tokenizer=CLIPTokenizer.from_pretrained(folder / TOKENIZER))
            weights = load_file(folder / WEIGHTS)
            for name, part in base.modules.items():
                part.load_state_dict(
                    {k.removeprefix(f"{name}."): v.float() for k, v in weights.items() if k.startswith(f"{name}.")}
                )
        except (OSError, RuntimeError, ValueError, json.JSONDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                f"{folder} holds no base of {cls.recipe} ({reason}): train it with `diffolio train {cls.recipe}`"
            ) from error
        model = base.model()
        model.pipeline.to(device)
        return model

    @classmethod
    def under(cls, folder: Path, given: Model | None, what: str) -> tuple[Model, tuple[str, ...]]:
        """The model that ``what`` in ``folder`` was trained on, and what there is to say of it: the folder's own base if it brings one,
        else ``given``. BadInput if neither is there."""
        if not (folder / WEIGHTS).exists():
            if given is None:
                raise BadInput(f"{folder} holds {what} without a base: give the model that they were trained on")
            return given, ()
        replaced = given is not None and given.name != cls.name
        notes = (
            (f"the {what} belong to their own small base, which takes the place of {given.name}",) if given and replaced else ()
        )
        return cls.load(folder, given.device if given is not None else "cpu"), notes
