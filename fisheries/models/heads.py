"""What stands between features and outputs."""

from __future__ import annotations

from torch import Tensor, nn


def create_trunk(kind: str, width: int, *, dropout: float) -> tuple[nn.Module, int]:
    """Create the layers between features (N, width) and the last, linear layer.

    Args:
        kind: "linear", the features themselves; "dense", lesson 7's two dense layers of 512 with batch normalization.
        width: of the features.
        dropout: before the last layer; "dense" drops a quarter of it, all of it and half of it at its three places,
            which for 0.6 are the lesson's 0.15, 0.6 and 0.3.

    Returns:
        The layers, and the width that they give.

    Raises:
        ValueError: `kind` is unknown.
    """
    if kind == "linear":
        return nn.Dropout(dropout), width
    if kind == "dense":
        return nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Dropout(dropout / 4),
            *_dense(width, 512, dropout=dropout),
            *_dense(512, 512, dropout=dropout / 2),
        ), 512
    raise ValueError(f"model.head={kind!r}: expected linear or dense")


def _dense(inputs: int, outputs: int, *, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.BatchNorm1d(outputs), nn.Dropout(dropout)]


class SizeInput(nn.Module):
    """The photograph's size as further features, batch-normalized (lesson 7's multi-input).

    Args:
        kind: "standardized", height and width; "onehot", one feature for each size of the training fold, all 0 for
            a size that is not among them.
        known_hw: (K, 2) standardized sizes of the training fold.
    """

    known_hw: Tensor

    def __init__(self, kind: str, *, known_hw: Tensor) -> None:
        super().__init__()
        if kind not in ("standardized", "onehot"):
            raise ValueError(f"model.metadata={kind!r}: expected none, standardized or onehot")
        self.onehot = kind == "onehot"
        self.width = len(known_hw) if self.onehot else 2
        self.norm = nn.BatchNorm1d(self.width)
        self.register_buffer("known_hw", known_hw.float())

    def forward(self, image_hw: Tensor) -> Tensor:
        """Map standardized sizes (N, 2) to features (N, width)."""
        if self.onehot:
            distance = (image_hw[:, None] - self.known_hw[None]).abs().amax(dim=2)  # (N, K)
            return self.norm((distance < 1e-4).float())
        return self.norm(image_hw)
