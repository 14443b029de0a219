"""True diffusers pipelines with the layout of the models that users bring, in tiny widths and with seeded random weights.

Each builder gives one pipeline per session: a test that changes a pipeline for good takes ``copy.deepcopy`` of it.
Latents are 16x16, pictures 128x128 (the VAEs keep their real factor 8); CLIP reads 32 tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from diffolio.miniatures.text import t5_tokenizer, text_config, tokenizer

if TYPE_CHECKING:
    from diffusers import (
        AmusedPipeline,
        AutoencoderKL,
        LattePipeline,
        PixArtAlphaPipeline,
        StableDiffusion3Pipeline,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
    )

    from diffolio.models import Model
    from diffolio.nets.next_scale_pipeline import NextScalePipeline

WIDTH = 32  # of every text encoder


@functools.cache
def tiny_sd() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5: four levels, the lowest without attention, eight heads everywhere, noise prediction."""
    return _sd("epsilon")


@functools.cache
def tiny_sd_v() -> StableDiffusionPipeline:
    """Stable Diffusion 2.1's way of predicting: v."""
    return _sd("v_prediction")


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_sdxl() -> StableDiffusionXLPipeline:
    """Stable Diffusion XL: three levels, the first without attention, deeper transformers below, size conditioning."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(2)
    tokens = tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 3],
        attention_head_dim=[1, 2, 4],
        cross_attention_dim=2 * WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
        norm_num_groups=8,
    )
    return _ready(
        StableDiffusionXLPipeline(
            vae=_vae(scaling_factor=0.13025),
            text_encoder=CLIPTextModel(text_config(tokens, WIDTH, 2)),
            text_encoder_2=CLIPTextModelWithProjection(text_config(tokens, WIDTH, 2)),
            tokenizer=tokens,
            tokenizer_2=tokenizer(),
            unet=unet,
            scheduler=DDIMScheduler(**SCHEDULE),
            add_watermarker=False,
        )
    )


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_pixart() -> PixArtAlphaPipeline:
    """PixArt-alpha: patch 2, adaLN-single, T5 text of 120 tokens with a mask, eight output channels (learned variance)."""
    from diffusers import DDIMScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel

    torch.manual_seed(3)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        cross_attention_dim=WIDTH,
        attention_bias=True,
        sample_size=16,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        caption_channels=WIDTH,
    )
    return _ready(
        PixArtAlphaPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=_t5(WIDTH),
            vae=_vae(),
            transformer=transformer,
            scheduler=DDIMScheduler(beta_start=0.0001, beta_end=0.02, clip_sample=False, set_alpha_to_one=False),
        )
    )


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_latte() -> LattePipeline:
    """Latte: blocks in space and in time by turns, four frames, T5 text, eight output channels, a flow."""
    from diffusers import LattePipeline, LatteTransformer3DModel, UniPCMultistepScheduler

    torch.manual_seed(5)
    transformer = LatteTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=WIDTH,
        attention_bias=True,
        sample_size=16,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        caption_channels=WIDTH,
        video_length=4,
    )
    flow = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    return _ready(LattePipeline(t5_tokenizer(), _t5(WIDTH), _vae(), transformer, flow))


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_sd3() -> StableDiffusion3Pipeline:
    """Stable Diffusion 3: joint attention, two CLIPs and a T5, 16 latent channels with a shift, flow matching."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(4)
    tokens = tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        out_channels=16,
        pos_embed_max_size=48,
    )
    return _ready(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_vae(
                latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False
            ),
            text_encoder=CLIPTextModelWithProjection(text_config(tokens, WIDTH, 2)),
            tokenizer=tokens,
            text_encoder_2=CLIPTextModelWithProjection(text_config(tokens, WIDTH, 2)),
            tokenizer_2=tokenizer(),
            text_encoder_3=_t5(2 * WIDTH),
            tokenizer_3=t5_tokenizer(),
        )
    )


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_amused() -> AmusedPipeline:
    """aMUSEd: a UVit over the tokens of a VQModel of factor 4 on pictures of 32, one CLIP with a projection."""
    from diffusers import AmusedPipeline, UVit2DModel, VQModel
    from diffusers.schedulers import AmusedScheduler
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(6)
    tokens, codes = tokenizer(), 24
    vqvae = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(8, 8, 16),
        latent_channels=4, norm_num_groups=4, num_vq_embeddings=codes, lookup_from_codebook=True, sample_size=32,
    )  # fmt: skip
    torch.nn.init.normal_(vqvae.quantize.embedding.weight)
    transformer = UVit2DModel(
        hidden_size=32, cond_embed_dim=WIDTH, micro_cond_encode_dim=8, micro_cond_embed_dim=40, encoder_hidden_size=WIDTH,
        vocab_size=codes + 1, codebook_size=codes, in_channels=16, block_out_channels=16, num_res_blocks=1, downsample=True,
        upsample=True, block_num_heads=2, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, sample_size=8,
    )  # fmt: skip
    text = CLIPTextModelWithProjection(text_config(tokens, WIDTH, 2))
    return _ready(AmusedPipeline(vqvae, tokens, text, transformer, AmusedScheduler(mask_token_id=codes)))


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_next_scale() -> NextScalePipeline:
    """Next-scale prediction of five bits a cell over scales 1, 2, 4, 8, on pictures of 32."""
    from transformers import CLIPTextModelWithProjection

    from diffolio.nets.bitwise import BitwiseTokenizer
    from diffolio.nets.next_scale import NextScaleTransformer
    from diffolio.nets.next_scale_pipeline import NextScalePipeline

    torch.manual_seed(7)
    tokens, scales = tokenizer(), (1, 2, 4, 8)
    transformer = NextScaleTransformer(5, scales, (1, 1, 1, 2), width=32, layers=2, heads=4, text_width=WIDTH, pooled_width=WIDTH)
    for head in transformer.to_bits:
        torch.nn.init.normal_(head.weight, std=0.3)  # so that prompts make a difference
    return _ready(
        NextScalePipeline(
            BitwiseTokenizer(5, scales, (8, 8, 16), width=16, norm_num_groups=4), tokens,
            CLIPTextModelWithProjection(text_config(tokens, WIDTH, 2)), transformer,
        )
    )  # fmt: skip


TINY: dict[str, Callable[[], Any]] = {
    "sd": tiny_sd, "sd_v": tiny_sd_v, "sdxl": tiny_sdxl, "pixart": tiny_pixart, "sd3": tiny_sd3,
}  # fmt: skip


def tiny_model(which: str = "sd") -> Model:
    """A fresh Model on the session's tiny pipeline: "sd", "sd_v", "sdxl", "pixart" or "sd3"."""
    from diffolio.models import Model

    return Model(TINY[which](), name=f"tiny-{which}")


SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


@torch.random.fork_rng(devices=[])
def _sd(prediction_type: str) -> StableDiffusionPipeline:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(1)
    tokens = tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 32, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
    )
    pipeline = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(text_config(tokens, WIDTH, 2)),
        tokenizer=tokens,
        unet=unet,
        scheduler=DDIMScheduler(prediction_type=prediction_type, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _ready(pipeline)


def _vae(latent_channels: int = 4, scaling_factor: float = 0.18215, **more: Any) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=128,
        scaling_factor=scaling_factor,
        **more,
    )


def _t5(width: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(t5_tokenizer()), d_model=width, d_ff=2 * width, d_kv=8, num_layers=1, num_heads=4)
    )


def _ready(pipeline: Any) -> Any:
    """Weights frozen, no progress bar, evaluation mode."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
