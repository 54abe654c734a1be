"""What the page of explanations shows of a network, and of a photograph: figures as parts of the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from fisheries.analysis.explain_plots import plot_activations, plot_bank, plot_heat, plot_maps, plot_pictures
from fisheries.analysis.explain_view import CHANGES
from fisheries.analysis.filters import gabor_bank, sobel_bank
from fisheries.analysis.layers import best_patterns, first_kernels, layer_activations
from fisheries.analysis.looks import (
    GRAD_CAM,
    Case,
    Looker,
    answers,
    change_row,
    changed_views,
    class_maps,
    heats,
    predicted_xyxy,
    tensors,
)
from fisheries.analysis.occlusion import Pixels
from fisheries.analysis.page import figure_uri

DPI = 80
_FILTERS = 8


def draw_case(
    looker: Looker, case: Case, deck: Case | None, *, photo: Pixels, layer: str, seed: int
) -> dict[str, object]:
    """Draw one photograph: its heat and boxes, a map for each class, activations, classical filters, and its changes.

    Args:
        looker: the network.
        case: the photograph as the network sees it.
        deck: a photograph without fish of another boat, if there is one.
        photo: (H, W, 3) the photograph itself, in its own proportions.
        layer: whose activations are drawn.
        seed: see `changed_views`.

    Returns:
        `image_id`, `guess` and its `confidence`; `heat`, `maps`, `activations`, `bank` and `changed` as sources of
        pictures, the last None where it is not known where the fish is, or which; and `maps_title`.
    """
    outputs = answers(looker, [case.view], case.image_hw[None])
    probabilities, maps = outputs["probabilities"][0], class_maps(outputs)
    guess = int(probabilities.argmax())
    hot = heats(looker, case, range(len(looker.classes)))
    over = {
        f"{method}, {looker.classes[label]}{'' if heat[label].any() else ': none'}": heat[label]
        for method, heat in hot.items()
        for label in dict.fromkeys([guess] if case.label is None else [case.label, guess])
    }
    titles = [f"{name} {probability:.2f}" for name, probability in zip(looker.classes, probabilities, strict=True)]
    by_class = dict(zip(titles, hot[GRAD_CAM] if maps is None else maps, strict=True))
    predicted = predicted_xyxy(outputs)
    batch = tensors([case.view], case.image_hw[None], device=looker.device)
    figures = {
        "heat": plot_heat(photo, over, true_xyxy=case.boxes_xyxy, predicted_xyxy=predicted),
        "maps": plot_maps(by_class, signed=maps is not None),
        "activations": plot_activations(layer_activations(looker.net, *batch, layer=layer)[0]),
        "bank": plot_bank(case.view, sobel_bank() | gabor_bank()),
    }
    return {
        "image_id": case.image_id,
        "guess": looker.classes[guess],
        "confidence": float(probabilities[guess]),
        "maps_title": "Grad-CAM of each class" if maps is None else "Class maps",
        "changed": _changed(looker, case, deck, seed=seed),
        **{name: figure_uri(figure, dpi=DPI) for name, figure in figures.items()},
    }


def draw_kernels(looker: Looker) -> Markup:
    """Draw the kernels that look at the photograph itself."""
    kernels = first_kernels(looker.net)
    figure = plot_pictures(list(kernels), [str(number) for number in range(len(kernels))], columns=16)
    return figure_uri(figure, dpi=DPI)


def draw_patterns(looker: Looker, cases: Sequence[Case], *, layer: str, seed: int, progress: bool = False) -> Markup:
    """Draw the patterns, of the size that the network sees, of those filters of a layer that photographs excite most."""
    batches = [tensors([case.view], case.image_hw[None], device=looker.device) for case in cases]
    means = [layer_activations(looker.net, *batch, layer=layer)[0].mean(axis=(1, 2)) for batch in batches]
    channels = [int(channel) for channel in np.argsort(-np.mean(means, axis=0), kind="stable")[:_FILTERS]]
    image_hw = cases[0].view.shape[0], cases[0].view.shape[1]
    pictures, excitement = best_patterns(looker.net, layer, channels, image_hw=image_hw, seed=seed, progress=progress)
    titles = [f"{c}: {low:.2f} to {high:.2f}" for c, low, high in zip(channels, *excitement, strict=True)]
    return figure_uri(plot_pictures(list(pictures), titles, columns=4), dpi=DPI)


def _changed(looker: Looker, case: Case, deck: Case | None, *, seed: int) -> Markup | None:
    if case.label is None or not len(case.boxes_xyxy):
        return None
    views = changed_views(case, deck, seed=seed)
    found = change_row(looker, views, case.label)
    words = {"probability": "as the network sees it", "deck_alone": "that deck alone"}
    words |= {name: text.replace("\n", " ") for name, text in CHANGES.items()}
    titles = [f"{words[name]}\n{looker.classes[case.label]} {found[name]:.2f}" for name in views]
    return figure_uri(plot_pictures([view for view, _ in views.values()], titles, columns=5), dpi=DPI)
