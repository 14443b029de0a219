"""Guidance: how several predictions, or a loss on what is being made, steer the one that is followed. Any tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.process.prediction import Prediction, raw_from


def combine(uncond: Tensor, cond: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, 2022), in the convention of diffusers: 1 is no guidance.

        uncond + scale * (cond - uncond)

    ``scale`` is a number, or (B,) for one scale a sample.
    """
    return uncond + _each(scale, cond) * (cond - uncond)


def combine_two(none: Tensor, image: Tensor, both: Tensor, image_scale: float | Tensor, text_scale: float | Tensor) -> Tensor:
    """Guidance by a picture and by a text (InstructPix2Pix: Brooks et al., 2023, arXiv:2211.09800, eq. 3).

        e(0, 0) + s_v (e(v, 0) - e(0, 0)) + s_t (e(v, c) - e(v, 0))

    ``none`` is the prediction without either condition, ``image`` with the picture (or clip) v, ``both`` also with the text c.
    Scales are numbers, or (B,) for one a sample. For ``image_scale`` 1 it is :func:`combine` of ``image`` and ``both``.
    """
    return combine(none, image, image_scale) + _each(text_scale, both) * (both - image)


def rescale(guided: Tensor, cond: Tensor, amount: float) -> Tensor:
    """Bring a guided prediction's deviation back towards the conditional one's (Lin et al., 2023, section 3.4).

    ``amount`` 0 changes nothing, 1 gives exactly the conditional deviation, sample by sample.
    """
    if not 0 <= amount <= 1:
        raise BadInput(f"rescale amount {amount}: give a number from 0 to 1")
    dims = tuple(range(1, cond.dim()))
    matched = guided * (cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True))
    return amount * matched + (1 - amount) * guided


def guide_clean(
    predict: Callable[[Tensor], Prediction], latents: Tensor, loss: Callable[[Tensor], Tensor], scale: float | Tensor
) -> Prediction:
    """Steer by a loss on the clean estimate (Bansal et al., 2023; Chung et al., 2023).

        noise' = noise + scale * sigma * grad_x loss(clean(x))

    For ``scale`` 1 and loss = -log p(y | clean) this is the score of the posterior: the score is -noise / sigma and gains
    -grad loss. ``predict(x)`` is run once with gradients, ``loss(clean)`` gives (B,) or a scalar, summed over samples so
    that each is steered by its own loss. Returned detached, in the network's kind. NotFinite if the gradient is not finite.
    """
    with torch.enable_grad():
        x = latents.detach().requires_grad_(True)
        prediction = predict(x)
        (gradient,) = torch.autograd.grad(loss(prediction.clean).sum(), x)
    if not bool(torch.isfinite(gradient).all()):
        raise NotFinite("the gradient of the guidance loss is not finite: lower its scale, or bound the loss")
    noise = prediction.noise.detach() + scale * prediction.sigma * gradient
    alpha, sigma, kind = prediction.alpha, prediction.sigma, prediction.kind
    raw = raw_from(kind, latents=latents, noise=noise, alpha=alpha, sigma=sigma) if kind != "epsilon" else noise
    return Prediction(raw, latents.detach(), alpha, sigma, kind)


def _each(scale: float | Tensor, like: Tensor) -> float | Tensor:
    """Scales (B,) shaped to broadcast over ``like`` (B, ...); a number as it is."""
    if isinstance(scale, Tensor) and scale.dim() == 1:
        return scale.reshape(-1, *[1] * (like.dim() - 1)).to(like)
    return scale
