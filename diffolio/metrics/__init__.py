"""Scores: of pictures, of sets of pictures, and the intervals around them."""

from diffolio.metrics.frechet import frechet_distance
from diffolio.metrics.image import mse, psnr, ssim
from diffolio.metrics.judge import Judge
from diffolio.metrics.stats import Interval, auroc, mean_interval, ratio_interval

__all__ = ["Interval", "Judge", "auroc", "frechet_distance", "mean_interval", "mse", "psnr", "ratio_interval", "ssim"]
