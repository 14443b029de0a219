"""Training: one loop for every recipe."""

from diffolio.training.loop import Budget, Objective, Trained, train

__all__ = ["Budget", "Objective", "Trained", "train"]
