"""How much one coding of images tells of another, and whether that may be chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

_CHUNK = 4_000_000  # counts of permuted tables held at once


def mutual_information(values: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mutual information of two codings (N,) of the same images, in nats."""
    counts = np.zeros((1, values.max() + 1, labels.max() + 1))
    np.add.at(counts[0], (values, labels), 1)
    return float(_information(counts)[0])


def permutation_test(
    values: NDArray[np.int64],
    labels: NDArray[np.int64],
    bursts: NDArray[np.int64],
    *,
    permutations: int,
    seed: int,
) -> tuple[float, float]:
    """Test whether values and labels are independent, when images of a burst share their label.

    Args:
        values: (N,) codes from 0.
        labels: (N,) codes from 0; a burst with several counts as its first image's.
        bursts: (N,) codes from 0, whose labels are permuted as one.
        permutations: how many.
        seed: of the permutations.

    Returns:
        The mean mutual information of the permutations in nats, and the p-value: the share of them, the given one
        among them, with at least its information (Phipson & Smyth 2010).
    """
    _, first = np.unique(bursts, return_index=True)
    of_bursts = labels[first]  # (B,)
    cells, classes = int(values.max()) + 1, int(labels.max()) + 1
    rng = np.random.default_rng([seed, 2])
    informations = [mutual_information(values, of_bursts[bursts])]
    step = max(1, _CHUNK // (cells * classes + len(values)))
    for start in range(0, permutations, step):
        number = min(step, permutations - start)
        shuffled = rng.permuted(np.tile(of_bursts, (number, 1)), axis=1)[:, bursts]  # (number, N)
        flat = (np.arange(number)[:, None] * cells + values) * classes + shuffled
        counts = np.bincount(flat.ravel(), minlength=number * cells * classes)
        informations += _information(counts.reshape(number, cells, classes).astype(np.float64)).tolist()
    observed, permuted = informations[0], np.array(informations[1:])
    reached = int((permuted >= observed - 1e-12).sum())  # ties differ by rounding
    return float(permuted.mean()), (1 + reached) / (1 + permutations)


def _information(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mutual information (R,) of tables of counts (R, V, C), in nats."""
    total = counts.sum(axis=(1, 2))

    def entropy(parts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(total) - xlogy(parts, parts).reshape(len(parts), -1).sum(axis=1) / total

    return entropy(counts.sum(axis=1)) + entropy(counts.sum(axis=2)) - entropy(counts)
