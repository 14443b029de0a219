"""Objectives train where their networks are: the batch follows them. Shown on the meta device, which needs no hardware."""

import pytest
import torch

from diffolio import miniatures
from diffolio.miniatures.clip import MiniCLIP
from diffolio.miniatures.earth_base import EarthBase
from diffolio.miniatures.flow import MiniFlow
from diffolio.miniatures.memory import MiniSDMem
from diffolio.miniatures.perc import MiniPerc
from diffolio.miniatures.pixel import MiniPixel
from diffolio.miniatures.sd import MiniSD
from diffolio.miniatures.sentences import MiniSentences
from diffolio.miniatures.tokenizers import MiniBitwiseTokenizer, MiniVQTokenizer
from diffolio.miniatures.vae import MiniVAE, MiniVAEDecoder
from diffolio.miniatures.var import MiniVAR
from diffolio.miniatures.video import MiniVideo
from diffolio.miniatures.vq import MiniVQ
from diffolio.nets.bitwise import BitwiseTokenizer


def vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(miniatures.folder("mini-vae"), torch_dtype=torch.float32)


def vqvae():
    from diffusers import VQModel

    return VQModel.from_pretrained(miniatures.folder("mini-vq") / "vqvae", torch_dtype=torch.float32)


class Grey(EarthBase):
    def draw(self, generator):
        return torch.full((2, 3, 64, 64), 0.5), ["", ""]


OBJECTIVES = {
    "vae": MiniVAE,
    "vae-decoder": lambda: MiniVAEDecoder(vae()),
    "vq-tokenizer": lambda: MiniVQTokenizer(vae(), scenes=40),
    "var-tokenizer": lambda: MiniBitwiseTokenizer(vae(), scenes=4),
    "sd": lambda: MiniSD(vae(), scenes=4, looks=1, places=1),
    "sd-mem": lambda: MiniSDMem(miniatures.folder("mini-sd"), items=[], scenes=4, rank=2),
    "flow": lambda: MiniFlow(vae(), scenes=4),
    "video": lambda: MiniVideo(vae(), clips=2, looks=1, places=1),
    "pixel": lambda: MiniPixel(n=4),
    "vq": lambda: MiniVQ(vqvae(), scenes=4),
    "var": lambda: MiniVAR(BitwiseTokenizer(), scenes=4),
    "clip": MiniCLIP,
    "perc": MiniPerc,
    "sentences": MiniSentences,
    "patches": Grey,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_follows_its_networks(name, monkeypatch):
    # transformers looks into a mask to skip it, which no meta tensor allows.
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *args, **more: False)
    objective = OBJECTIVES[name]()
    objective.batch = 2
    for module in objective.modules.values():
        module.to("meta")
    loss, told = objective.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.device.type == "meta" and loss.shape == ()
    assert all(value.shape == () for value in told.values())  # tensors: a figure that is not logged is not waited for
