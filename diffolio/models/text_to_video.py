"""Text-to-video of the ModelScope kind (Wang et al., 2023): a 3D UNet with one CLIP, clips of any length."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from diffolio.models.architecture import Architecture, guided_rows, named
from diffolio.models.condition import Arguments, Condition
from diffolio.models.vae import Codec, FrameByFrame


class TextToVideo(Architecture):
    """Clips (B, T, 3, H, W) and latents (B, C, T, h, w)."""

    name, family, denoiser = "text_to_video", "unet3d", "unet"
    pipelines = ("TextToVideoSDPipeline",)
    any_length = True

    @property
    def kinds(self) -> frozenset[str]:
        return super().kinds | {"video"}

    def rows(self, pipeline: Any, prompts: list[str], negative: list[str] | None, guided: bool) -> dict[str, Arguments]:
        cond, uncond = pipeline.encode_prompt(prompts, pipeline._execution_device, 1, guided, negative)
        return guided_rows({"encoder_hidden_states": cond}, {"encoder_hidden_states": uncond}, guided)

    def call(self, condition: Condition, guided: bool) -> dict[str, Any]:
        return named(condition, guided, {"prompt_embeds": "encoder_hidden_states"})

    def frames(self, pipeline: Any) -> int:
        return int(inspect.signature(type(pipeline).__call__).parameters["num_frames"].default)

    def codec(self, pipeline: Any) -> Codec:
        return FrameByFrame(pipeline.vae, pipeline.vae_scale_factor)

    def run(self, pipeline: Any, *, tell: Any, arguments: dict[str, Any], **options: Any) -> Tensor:
        frames = options.pop("frames")
        if tell is not None:
            arguments = arguments | {"callback": lambda step, t, latents: tell(step + 1, options["num_inference_steps"])}
        return pipeline(**arguments, **options, num_frames=frames, output_type="latent").frames  # type: ignore[no-any-return]
