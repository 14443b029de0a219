"""One call of scaled dot product attention, by PyTorch's kernel or explicitly.

o = p v,   p = softmax(logits),   logits = q k^T * scale + mask
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of scaled_dot_product_attention, by its own names; q (B, heads, Nq, d), k, v (B, heads, Nk, d)."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def kernel(self) -> Tensor:
        return F.scaled_dot_product_attention(
            self.query, self.key, self.value, attn_mask=self.attn_mask, dropout_p=self.dropout_p,
            is_causal=self.is_causal, scale=self.scale, enable_gqa=self.enable_gqa,
        )  # fmt: skip

    def with_keys(self, query: Tensor, key: Tensor, value: Tensor, path: str = "") -> AttentionCall:
        """The same call on other q, k, v; the mask is widened for keys that were added at the end."""
        if query is self.query and key is self.key and value is self.value:
            return self
        mask = widened(self.attn_mask, key.shape[2] - self.key.shape[2], path)
        return replace(self, query=query, key=key, value=value, attn_mask=mask)

    def logits(self) -> Tensor:
        """(B, heads, Nq, Nk), scaled and masked."""
        return attention_logits(self.query, self._per_head(self.key), self.attn_mask, self.scale, self.is_causal)

    def weigh(self, probabilities: Tensor) -> Tensor:
        """The output for these probabilities, (B, heads, Nq, d)."""
        return F.dropout(probabilities, self.dropout_p) @ self._per_head(self.value)

    def _per_head(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.query.shape[1] // x.shape[1], dim=1) if self.enable_gqa else x


def softmax(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Probabilities over the keys, summed in at least float32."""
    return torch.softmax(logits.float() if logits.dtype.itemsize < 4 else logits, dim=-1).to(dtype)


def attention_logits(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None, causal: bool = False) -> Tensor:
    """q k^T * scale + mask, (B, heads, Nq, Nk); the same meaning of mask and scale as in PyTorch's kernel."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = (query * scale) @ key.transpose(-2, -1)
    if causal:
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if mask is None:
        return logits
    return logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask


def widened(mask: Tensor | None, more: int, path: str = "") -> Tensor | None:
    """The mask (..., Nk) with ``more`` keys at the end that every query sees."""
    if mask is None or more == 0 or mask.shape[-1] == 1:
        return mask
    if more < 0:
        raise BadInput(f"{path}: an editor took away {-more} keys of a masked attention; mask them in `logits` instead")
    return F.pad(mask, (0, more), value=True if mask.dtype == torch.bool else 0.0)
