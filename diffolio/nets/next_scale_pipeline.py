"""Text to picture by next-scale prediction of bits: the pipeline around NextScaleTransformer and BitwiseTokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from diffolio.nets.bitwise import BitwiseTokenizer
from diffolio.nets.next_scale import NextScaleTransformer
from diffolio.process.discrete import uniform
from diffolio.process.guidance import combine

Text = tuple[Tensor, Tensor]
"""Token states (B, L, text_width) and pooled states (B, pooled_width)."""


class NextScalePipeline(DiffusionPipeline):
    """Draws all bits of one scale at once, from coarse to fine (VAR, section 3.2; Infinity, section 3.2).

    Guidance combines logits: l = u + g (c - u). ``temperature`` divides them; 0.5 is what Infinity's released script takes. Sample i
    uses ``generator[i]``.
    """

    model_cpu_offload_seq = "text_encoder->transformer->autoencoder"

    def __init__(
        self, autoencoder: BitwiseTokenizer, tokenizer: Any, text_encoder: Any, transformer: NextScaleTransformer
    ) -> None:
        super().__init__()
        self.register_modules(autoencoder=autoencoder, tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer)
        self.image_processor = VaeImageProcessor(do_normalize=False)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per cell of the finest scale."""
        return int(self.autoencoder.factor)

    def encode_prompt(self, prompts: Sequence[str]) -> Text:
        """What the transformer reads of the prompts."""
        limit = self.tokenizer.model_max_length
        ids = self.tokenizer(
            list(prompts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
        ).input_ids
        read = self.text_encoder(ids.to(self._execution_device), output_hidden_states=True)
        return read.hidden_states[-2], read.text_embeds

    def logits(self, sums: Sequence[Tensor], text: Text, null: Text | None = None, guidance_scale: float = 1.0) -> Tensor:
        """Guided logits (B, d, s_k, s_k) of the scale that follows F_1..F_{k-1}."""
        return self.all_logits(sums, text, null, guidance_scale)[-1]

    def all_logits(
        self, sums: Sequence[Tensor], text: Text, null: Text | None = None, guidance_scale: float = 1.0
    ) -> list[Tensor]:
        """Guided logits of every scale from the first to the one that follows F_1..F_{k-1}, from one forward."""
        if null is None or guidance_scale == 1:
            return self.transformer(sums, *text)  # type: ignore[no-any-return]
        both = [torch.cat([total, total]) for total in sums]
        rows = self.transformer(both, *(torch.cat(pair) for pair in zip(null, text, strict=True)))
        return [combine(*part.chunk(2), guidance_scale) for part in rows]

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float = 3.0,
        temperature: float = 0.5,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        prompt_embeds: Text | None = None,
        negative_prompt_embeds: Text | None = None,
        output_type: str = "pil",
        callback: Callable[[int, int], None] | None = None,
    ) -> ImagePipelineOutput:
        """Pictures of the prompts (``output_type`` "pil", "np", "pt"), or their features F_K (B, d, s_K, s_K) ("latent")."""
        text = prompt_embeds or self.encode_prompt([prompt] if isinstance(prompt, str) else list(prompt or []))
        null = negative_prompt_embeds
        if null is None and guidance_scale != 1:
            negative = negative_prompt or ""
            null = self.encode_prompt([negative] * len(text[0]) if isinstance(negative, str) else list(negative))
        scales = self.autoencoder.config.scales
        sums: list[Tensor] = []
        for k in range(len(scales)):
            logits = self.logits(sums, text, null, guidance_scale) / temperature
            bits = uniform(logits.shape, generator, logits.device) < logits.sigmoid()
            added = self.autoencoder.value(bits, k)
            sums.append(added + sums[-1] if sums else added)
            if callback is not None:
                callback(k + 1, len(scales))
        if output_type == "latent":
            return ImagePipelineOutput(sums[-1])
        pictures = self.autoencoder.decode(sums[-1]).clamp(0, 1)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(self.image_processor.postprocess(pictures, output_type))
