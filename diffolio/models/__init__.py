"""Models: load any supported diffusers pipeline as one handle."""

from diffolio.models.condition import Condition
from diffolio.models.loading import load
from diffolio.models.model import Model, Sampled
from diffolio.models.text import DiffolioWarning

__all__ = ["Condition", "DiffolioWarning", "Model", "Sampled", "load"]
