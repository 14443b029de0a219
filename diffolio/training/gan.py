"""The bundled eyes of a discriminator."""

from __future__ import annotations

from diffolio.metrics.judge import Judge
from diffolio.nets.feature_discriminator import FeatureDiscriminator, VisionFeatures


def bundled_discriminator(copy: str = "a", width: int = 64, seed: int = 0) -> FeatureDiscriminator:
    """Heads on mini-clip's features. Copy "a" trains, so that copy "b" remains an independent judge of what was trained."""
    judge = Judge.load(copy)
    tower = judge.model.vision_model
    return FeatureDiscriminator(VisionFeatures(tower, mean=judge.mean, std=judge.std), width, int(tower.config.image_size), seed)
