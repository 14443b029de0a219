"""A student whose weights were all trained, as a LoRA on its teacher: what differs, cut to a rank by singular values.

It makes a student of the teacher's size an adapter of a few megabytes. What no LoRA is put on (biases, norms, the first and last
convolution) is small and goes along whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.students import PROJECTION, add_lora, guided_student, save_adapter

if TYPE_CHECKING:
    from diffolio.models.model import Model


@torch.no_grad()
def low_rank(difference: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best (rank, in, ...) and (out, rank, 1, ...) whose product is nearest to a weight's ``difference`` (out, in, ...).

    Eckart and Young: the largest singular values; their roots go to both sides. Smaller ranks than asked for are filled with zeros.
    """
    out, rest = difference.shape[0], difference.shape[1:]
    left, values, right = torch.linalg.svd(difference.flatten(1).float(), full_matrices=False)
    kept, root = min(rank, len(values)), values[:rank].sqrt()
    down, up = torch.zeros(rank, right.shape[1]), torch.zeros(out, rank)
    down[:kept], up[:, :kept] = root[:, None] * right[:kept], left[:, :kept] * root
    return down.view(rank, *rest), up.view(out, rank, *[1] * (len(rest) - 1))


@torch.no_grad()
def low_rank_student(teacher: Any, student: Any, rank: int) -> tuple[Any, float]:
    """A copy of the UNet ``teacher`` with a guidance embedding and a LoRA that makes it nearly ``student``; and the share of the squared
    difference of the weights under the LoRA that it holds, 0 to 1. BadInput if they are not of one architecture."""
    own, told = dict(student.named_parameters()), dict(teacher.named_parameters())
    strange = set(own) ^ set(told) ^ {PROJECTION} | {n for n in set(own) & set(told) if own[n].shape != told[n].shape}
    if strange:
        raise BadInput(
            f"student and teacher differ in {sorted(strange)[:3]}: give the teacher that the student was distilled from"
        )
    made = add_lora(guided_student(teacher, student.config.time_cond_proj_dim), rank)
    parameters, whole, left = dict(made.named_parameters()), 0.0, 0.0
    for name, parameter in parameters.items():
        plain = name.replace(".base_layer", "")
        if ".lora_A." in name:
            weight = name.split(".lora_A.")[0] + ".weight"
            difference = (own[weight] - told[weight]).float().cpu()
            down, up = low_rank(difference, rank)
            parameter.copy_(down)
            parameters[name.replace(".lora_A.", ".lora_B.")].copy_(up)
            whole += float(difference.square().sum())
            left += float((difference.flatten(1) - up.flatten(1) @ down.flatten(1)).square().sum())
        elif plain in own and not (name.endswith(".base_layer.weight") or torch.equal(own[plain], parameter)):
            parameter.copy_(own[plain])
    return made, 1 - left / whole if whole else 1.0


def save_low_rank(teacher: Model, student: Model, folder: str | Path, rank: int, ddim_steps: int = 50) -> float:
    """Write ``student`` to ``folder`` as an adapter (float16) of ``teacher`` that ``load_student`` reads; the share that it holds."""
    made, held = low_rank_student(teacher.denoiser, student.denoiser, rank)
    record = {"lora_rank": rank, "ddim_steps": ddim_steps, "cut_from_full_weights": round(held, 4)}
    save_adapter(Path(folder), made, teacher, record)
    return held
