"""A student cut to a LoRA on its teacher: the best of its rank, exact where the difference has that rank, read back as a student."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from diffolio.errors import BadInput
from diffolio.models.low_rank import low_rank, low_rank_student, save_low_rank
from diffolio.models.students import PROJECTION, add_lora, guided_student, load_adapter, merged


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=16, attention_head_dim=8,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval().requires_grad_(False)  # fmt: skip


@pytest.fixture(scope="module")
def student(teacher):
    """Trained as a LoRA of rank 2, then merged: what it differs by has rank 2."""
    made = add_lora(guided_student(teacher, 8), 2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora_" in name or name == PROJECTION or name.endswith("bias") or name.startswith("conv_"):
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return merged(made).eval()


def output(unet):
    generator = torch.Generator().manual_seed(2)
    latents, words, w = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 8), (2, 5, 16), (2, 8)))
    with torch.no_grad():
        return unet(latents, torch.tensor([10, 500]), words, timestep_cond=w).sample


def test_no_pair_of_the_rank_is_nearer():
    difference = torch.randn(12, 6, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64).float()
    down, up = low_rank(difference, 4)
    assert down.shape == (4, 6, 3, 3) and up.shape == (12, 4, 1, 1)
    left = (difference.flatten(1) - up.flatten(1) @ down.flatten(1)).square().sum()
    values = torch.linalg.svdvals(difference.flatten(1).double())
    assert float(left) == pytest.approx(float(values[4:].square().sum()), rel=1e-4)


def test_more_rank_than_there_is_changes_nothing():
    difference = torch.randn(3, 5, generator=torch.Generator().manual_seed(4))
    down, up = low_rank(difference, 8)
    assert down.shape == (8, 5) and up.shape == (3, 8)
    assert torch.allclose(up @ down, difference, atol=1e-5)


def test_a_student_of_that_rank_comes_back(teacher, student):
    made, held = low_rank_student(teacher, student, 2)
    assert held == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(output(merged(made).eval()), output(student), atol=1e-4)


def test_less_rank_holds_less(teacher, student):
    held = [low_rank_student(teacher, student, rank)[1] for rank in (1, 2)]
    assert 0 < held[0] < held[1] <= 1 + 1e-6


def test_what_is_written_is_read_as_a_student(teacher, student, tmp_path):
    held = save_low_rank(
        SimpleNamespace(denoiser=teacher, name="mini-sd"), SimpleNamespace(denoiser=student), tmp_path / "cut", 2, 40
    )
    record = json.loads((tmp_path / "cut" / "student.json").read_text())
    assert record == {"lora_rank": 2, "ddim_steps": 40, "teacher": "mini-sd", "cut_from_full_weights": round(held, 4)}
    read = merged(load_adapter(teacher, tmp_path / "cut")).eval()
    assert torch.allclose(output(read), output(student), atol=1e-2)  # float16 on disk


def test_another_architecture_is_refused(teacher, student):
    other = copy.deepcopy(teacher)
    other.conv_norm_out = torch.nn.GroupNorm(4, 16, affine=False)
    with pytest.raises(BadInput, match="conv_norm_out"):
        low_rank_student(other, student, 2)
