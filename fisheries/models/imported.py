"""What stands in a backbone's place where features were made elsewhere."""

from __future__ import annotations

from torch import Tensor, nn


class ImportedFeatures(nn.Module):
    """Features (N, width) come with the batch, so a network with it has nothing to see photographs with.

    Args:
        width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Refuse.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a network on imported features can't see photographs")

    def depth_groups(self) -> list[list[str]]:
        """Return no groups: there are no parameters."""
        return []
