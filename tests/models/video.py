"""A true text-to-video UNet in tiny width with seeded random weights."""

import functools

import torch


@functools.cache
@torch.random.fork_rng(devices=[])
def tiny_unet3d():
    """UNet3DConditionModel in the layout of ModelScope's: two levels, 4 channels, text of width 32."""
    from diffusers import UNet3DConditionModel

    torch.manual_seed(6)
    unet = UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return unet.eval().requires_grad_(False)


@functools.cache
def tiny_text_to_video():
    """TextToVideoSDPipeline, as ModelScope's, around :func:`tiny_unet3d`."""
    from diffusers import DDIMScheduler, TextToVideoSDPipeline
    from transformers import CLIPTextModel

    from diffolio.miniatures.text import text_config, tokenizer
    from tests.models.tiny import SCHEDULE, WIDTH, _ready, _vae

    tokens = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        encoder = CLIPTextModel(text_config(tokens, WIDTH, 2))
        return _ready(TextToVideoSDPipeline(_vae(), encoder, tokens, tiny_unet3d(), DDIMScheduler(**SCHEDULE)))
