"""Latte (Ma et al., 2024): a transformer over clips that attends in space and in time by turns, with one T5."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from diffolio.models.architecture import Architecture, guided_rows, named
from diffolio.models.condition import Arguments, Condition
from diffolio.models.text import Reader
from diffolio.models.vae import Codec, FrameByFrame

LENGTH = 120  # tokens that the pipeline pads a prompt to


class Latte(Architecture):
    """Clips (B, T, 3, H, W) and latents (B, C, T, h, w). Half of the output channels are a variance.

    The pipeline cuts the padding off a single prompt's states and sets it to zero for several; here it is always set to zero,
    so that a clip does not depend on its batch.
    """

    name, family, denoiser = "latte", "transformer", "transformer"
    pipelines = ("LattePipeline",)

    @property
    def kinds(self) -> frozenset[str]:
        return super().kinds | {"video"}

    def readers(self, pipeline: Any) -> list[Reader]:
        return [Reader(pipeline.tokenizer, LENGTH, lower=True, name="T5 text encoder")]

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        states = self._states(pipeline, prompts)
        nulls = self._states(pipeline, negative or [""] * len(prompts)) if guided else states
        return guided_rows({"encoder_hidden_states": states}, {"encoder_hidden_states": nulls}, guided)

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        given = named(condition, guided, {"prompt_embeds": "encoder_hidden_states"})
        # The default for negative_prompt is "", which the pipeline does not take beside embeddings.
        return {**given, "negative_prompt": None, "mask_feature": False, "clean_caption": False}

    def multiple(self, pipeline: Any) -> int:
        return math.lcm(8, pipeline.vae_scale_factor * pipeline.transformer.config.patch_size)

    def frames(self, pipeline: Any) -> int:
        return int(pipeline.transformer.config.video_length)

    def codec(self, pipeline: Any) -> Codec:
        return FrameByFrame(pipeline.vae, pipeline.vae_scale_factor)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        if tell is not None:
            arguments = arguments | self.progress(tell, options["num_inference_steps"])
        frames = options.pop("frames")
        return pipeline(**arguments, **options, video_length=frames, output_type="latent").frames  # type: ignore[no-any-return]

    @staticmethod
    def _states(pipeline: Any, prompts: list[str]) -> Tensor:
        texts = pipeline._text_preprocessing(prompts, clean_caption=False)
        tokens = pipeline.tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        mask = tokens.attention_mask.to(pipeline._execution_device)
        states = pipeline.text_encoder(tokens.input_ids.to(mask.device), attention_mask=mask)[0]
        return states * mask[..., None].to(states.dtype)  # type: ignore[no-any-return]
