"""The network: a backbone, the photograph's size if wanted, and one or two heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fisheries.models.backbones import Backbone
from fisheries.models.heads import SizeInput, create_trunk


class FishNet(nn.Module):
    """Tell the species in an image, and where the fish is.

    Args:
        backbone: from `create_backbone`.
        classes: how many there are (C).
        head: "linear" or "dense", see `create_trunk`.
        dropout: before the last layer.
        metadata: "none", or how the photograph's size joins the features before the last layer, see `SizeInput`.
        known_hw: (K, 2) standardized sizes of the training fold; needed by any metadata but "none".
        predict_box: whether to predict the largest fish's box from the same features.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        classes: int,
        head: str = "linear",
        dropout: float = 0.0,
        metadata: str = "none",
        known_hw: Tensor | None = None,
        predict_box: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.trunk, width = create_trunk(head, backbone.width, dropout=dropout)
        self.box = nn.Linear(width, 4) if predict_box else None
        self.size = None
        if metadata != "none":
            if known_hw is None:
                raise ValueError(f"model.metadata={metadata!r} needs the sizes of the training fold (known_hw)")
            self.size = SizeInput(metadata, known_hw=known_hw)
            width += self.size.width
        self.classifier = nn.Linear(width, classes)

    def forward(self, image: Tensor, image_hw: Tensor) -> dict[str, Tensor]:
        """Predict from images (N, 3, H, W), values 0 to 255, and standardized sizes (N, 2).

        Returns:
            `logits` (N, C), `features` (N, F), `feature_map` (N, C', h, w), and, if there is a box head,
            `box_cxcywh` (N, 4) in the image's [0, 1].
        """
        feature_map, features = self.backbone(image)
        hidden = self.trunk(features)
        outputs = {"feature_map": feature_map, "features": features}
        if self.box is not None:
            outputs["box_cxcywh"] = self.box(hidden)
        if self.size is not None:
            hidden = torch.cat([hidden, self.size(image_hw)], dim=1)
        outputs["logits"] = self.classifier(hidden)
        return outputs
