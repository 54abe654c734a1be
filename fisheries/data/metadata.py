"""The photograph's size as an input: standardized on the training fold, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class SizeStatistics:
    """What the training fold says of image sizes, all as (height, width)."""

    mean_hw: tuple[float, float]
    std_hw: tuple[float, float]
    known_hw: tuple[tuple[int, int], ...]  # each size once, in order

    def standardize(self, hw: NDArray[np.float64]) -> NDArray[np.float32]:
        """Map sizes (N, 2) in pixels to zero mean and unit deviation on the training fold."""
        return ((hw - np.array(self.mean_hw)) / np.array(self.std_hw)).astype(np.float32)

    def known_standardized(self) -> NDArray[np.float32]:
        """Return the known sizes (K, 2), standardized."""
        return self.standardize(np.array(self.known_hw, dtype=np.float64))


def fit_sizes(train: pd.DataFrame) -> SizeStatistics:
    """Measure the sizes of the training fold's rows of a manifest; a deviation of 0 counts as 1 pixel."""
    hw = train[["height", "width"]].to_numpy(dtype=np.float64)
    std = hw.std(axis=0)
    known = sorted({(int(height), int(width)) for height, width in hw})
    mean_h, mean_w = hw.mean(axis=0)
    std_h, std_w = np.where(std > 0, std, 1.0)
    return SizeStatistics((float(mean_h), float(mean_w)), (float(std_h), float(std_w)), tuple(known))
