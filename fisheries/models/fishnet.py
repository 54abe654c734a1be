"""The network: a backbone, the photograph's size if wanted, and one or two heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fisheries.models.backbones import Backbone
from fisheries.models.heads import CLASS_MAP_HEADS, MAP_HEADS, SizeInput, create_trunk
from fisheries.models.imported import ImportedFeatures


class FishNet(nn.Module):
    """Tell the species in an image, and where the fish is.

    Args:
        backbone: from `create_backbone`, or what stands in its place where features were made elsewhere.
        classes: how many there are (C).
        head: see `create_trunk`.
        head_options: likewise.
        dropout: before the last layer.
        metadata: "none", or how the photograph's size joins the features before the last layer, see `SizeInput`.
        known_hw: (K, 2) standardized sizes of the training fold; needed by any metadata but "none".
        predict_box: whether to predict the largest fish's box from the same features.

    Raises:
        ValueError: an argument is unknown, or does not go with another.
    """

    def __init__(
        self,
        backbone: Backbone | ImportedFeatures,
        *,
        classes: int,
        head: str = "linear",
        head_options: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        metadata: str = "none",
        known_hw: Tensor | None = None,
        predict_box: bool = False,
    ) -> None:
        super().__init__()
        if head in CLASS_MAP_HEADS and (metadata != "none" or predict_box):
            raise ValueError(
                f"model.head={head} gives class maps only: model.metadata=none and model.predict_box=false, or another head"
            )
        self.backbone = backbone
        self.takes_map = head in MAP_HEADS
        inputs = backbone.channels if isinstance(backbone, Backbone) and self.takes_map else backbone.width
        self.trunk, width = create_trunk(head, inputs, classes=classes, dropout=dropout, options=head_options)
        self.box = _box_layer(width) if predict_box else None
        self.size = None
        if metadata != "none":
            if known_hw is None:
                raise ValueError(f"model.metadata={metadata!r} needs the sizes of the training fold (known_hw)")
            self.size = SizeInput(metadata, known_hw=known_hw)
            width += self.size.width
        self.classifier = None if head in CLASS_MAP_HEADS else nn.Linear(width, classes)

    def forward(self, image: Tensor, image_hw: Tensor) -> dict[str, Tensor]:
        """Predict from images (N, 3, H, W), values 0 to 255, and standardized sizes (N, 2).

        Returns:
            `feature_map` (N, C', h, w), `features` (N, F), and what `decode` returns.
        """
        feature_map, features = self.backbone(image)
        encoded = feature_map if self.takes_map else features
        return {"feature_map": feature_map, "features": features, **self.decode(encoded, image_hw)}

    def encode(self, image: Tensor) -> Tensor:
        """Map images (N, 3, H, W), values 0 to 255, to what the head takes: features (N, F) or a map (N, C', h, w)."""
        feature_map, features = self.backbone(image)
        return feature_map if self.takes_map else features

    def decode(self, encoded: Tensor, image_hw: Tensor) -> dict[str, Tensor]:
        """Predict from what `encode` returned and standardized sizes (N, 2).

        Returns:
            `logits` (N, C); if there is a box head, `box_cxcywh` (N, 4) in the image's [0, 1]; if the head is fully
            convolutional, `class_maps` (N, C, h, w), whose means are the logits.
        """
        hidden = self.trunk(encoded)
        if self.classifier is None:
            return {"class_maps": hidden, "logits": hidden.mean(dim=(2, 3))}
        outputs = {}
        if self.box is not None:
            outputs["box_cxcywh"] = self.box(hidden)
        if self.size is not None:
            hidden = torch.cat([hidden, self.size(image_hw)], dim=1)
        return outputs | {"logits": self.classifier(hidden)}

    def depth_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups from the input to the head, which comes last."""
        groups = [[f"backbone.{name}" for name in group] for group in self.backbone.depth_groups()]
        return groups + [[name for name, _ in self.named_parameters() if not name.startswith("backbone.")]]


def _box_layer(width: int) -> nn.Linear:
    """Create the layer of the box, which says at first that the fish is a quarter of the picture, in its middle."""
    layer = nn.Linear(width, 4)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, 0.5, 0.5, 0.5]))  # from 0 it takes epochs to say that there is a box at all
    return layer
