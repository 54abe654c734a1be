"""What a run's network looks at: tables over many photographs, and a page with pictures of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from fisheries import nets
from fisheries.analysis.explain_plots import plot_changes
from fisheries.analysis.explain_view import CHANGES, change_means, change_view, heat_means, heat_view, verdict
from fisheries.analysis.layers import find_layer
from fisheries.analysis.look_pictures import DPI, draw_case, draw_kernels, draw_patterns
from fisheries.analysis.looks import (
    Case,
    Looker,
    answers,
    box_share,
    change_row,
    changed_views,
    class_map_note,
    create_looker,
    heat_rows,
    noise,
    read_case,
)
from fisheries.analysis.occlusion import choose_decks
from fisheries.analysis.page import figure_uri, render_page
from fisheries.data.images import read_small
from fisheries.data.manifest import scan_paths
from fisheries.data.splits import holdout_ids, seen_ids, usable_images, val_ids
from fisheries.progress import IMAGES, track
from fisheries.schema import (
    BOXES,
    FOLDS,
    MANIFEST,
    OK,
    InputError,
    nearest,
    read_table,
    usable_boxes,
    write_atomic,
    write_table,
)
from fisheries.training.devices import choose_device

PAGE, HEAT, CHANGED = "explain.html", "heat.csv", "changes.csv"
_SIDE_PX = 480
WHOLE = 0.8  # boxes that fill more of the picture leave nothing beside them, as in crops of fish


@dataclass(frozen=True)
class OpenRun:
    """The network of a run's first trained fold, and the photographs to show it."""

    fold: int
    looker: Looker
    manifest: pd.DataFrame
    boxes: pd.DataFrame  # usable ones, the largest of an image first
    parts: pd.Series  # "unseen" or "seen", by `image_id`, of what the fold has not trained on
    decks: pd.DataFrame  # photographs without fish
    no_fish: str


def explain_run(
    run_dir: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    layer: str | None,
    most: int,
    seed: int,
    gpus: str,
    console: Console,
) -> Path:
    """Measure what the network of a run's first trained fold looks at, draw it, and write a page and two tables.

    Args:
        run_dir: of a run with at least one trained fold.
        paths: photographs, files or folders, or names of the run's images; without any, one of each class that the
            fold has not trained on.
        out: folder to write `explain.html`, `heat.csv` and `changes.csv` into.
        layer: whose activations and patterns are drawn; by default the one that Grad-CAM looks at.
        most: how many images with boxes, of unseen and of seen boats each, the tables have; 0 for no tables.
        seed: of choices and of the noise that patterns start from.
        gpus: "0", a count, or "auto".
        console: where to show progress, and to say what the tables say.

    Returns:
        The page's path.

    Raises:
        InputError: as `nets.load_run`, `scan_paths` and `read_image`; an unknown layer.
    """
    run = open_run(run_dir, gpus=gpus, console=console)
    layer = layer or run.looker.cam_layer
    find_layer(run.looker.net, layer)
    shown = _shown(run, paths, seed=seed, progress=console.is_terminal)
    numbers = _numbers(run, out, most=most, seed=seed, console=console) if most else None
    cases = [_case(run, row) for _, row in shown.iterrows()]
    drawn = track(cases, "Drawing", console=console, disable=not console.is_terminal, unit=IMAGES)
    page = render_page(
        "explain.html",
        title=f"What the network of {run_dir.resolve().name} looks at",
        run_dir=str(run_dir),
        fold=run.fold,
        cam_layer=run.looker.cam_layer,
        layer=layer,
        numbers=numbers,
        images=[_picture(run, case, shown.loc[case.image_id], layer=layer, seed=seed) for case in drawn],
        kernels=draw_kernels(run.looker),
        patterns=draw_patterns(run.looker, cases, layer=layer, seed=seed, progress=console.is_terminal),
    )
    write_atomic(out / PAGE, page.encode(errors="xmlcharrefreplace"))
    return out / PAGE


def make_looker(trained: nets.TrainedRun, fold: nets.TrainedFold, *, gpus: str) -> Looker:
    """Make a fold's network ready to be shown photographs.

    Raises:
        InputError: as `choose_device` and `create_looker`.
    """
    return create_looker(
        fold.net,
        device=choose_device(gpus),
        input_hw=trained.transform.image_hw,
        sizes=fold.sizes,
        classes=trained.classes,
    )


def open_run(run_dir: Path, *, gpus: str = "0", console: Console) -> OpenRun:
    """Open a run to look into its network.

    Args:
        run_dir: of a run with at least one trained fold.
        gpus: "0", a count, or "auto".
        console: where to say what can't be shown of this network.

    Raises:
        InputError: as `nets.load_run`.
    """
    trained = nets.load_run(run_dir, console=console)
    fold = trained.folds[0]
    looker = make_looker(trained, fold, gpus=gpus)
    note = class_map_note(answers(looker, [noise(looker.input_hw)], np.zeros((1, 2), dtype=np.float32)))
    if note:
        console.print(note)
    manifest = read_table(run_dir / "manifest.csv", MANIFEST)
    boxes = usable_boxes(read_table(run_dir / "boxes.csv", BOXES, unique=False))
    no_fish = trained.config.data.no_fish or ""
    images = usable_images(manifest)
    return OpenRun(
        fold=fold.number,
        looker=looker,
        manifest=manifest,
        boxes=boxes,
        parts=_parts(read_table(run_dir / "folds.csv", FOLDS), fold.number),
        decks=images[(images["label"] == no_fish) & ~images.index.isin(boxes.index)],
        no_fish=no_fish,
    )


def _parts(folds: pd.DataFrame, number: int) -> pd.Series:
    """Return "unseen" or "seen", what a fold knows of their boats, for the images that it has not trained on."""
    held_out = "unseen" if (folds["split"] == "boat").all() else "seen"
    named = [(holdout_ids(folds), "unseen"), (val_ids(folds, number), held_out), (seen_ids(folds, number), "seen")]
    return pd.concat([pd.Series(part, ids, dtype="str") for ids, part in named])


def _shown(run: OpenRun, paths: Sequence[Path], *, seed: int, progress: bool) -> pd.DataFrame:
    """Return rows of a manifest for the photographs given; those of the run, by content, have their label and boat."""
    if not paths:
        return _one_of_each(run, seed=seed)
    named = [path.as_posix() for path in paths if not path.exists() and path.as_posix() in run.manifest.index]
    files = [path for path in paths if path.as_posix() not in named]
    for path in files:
        if not path.exists():
            raise InputError(
                f"{path}: no such file, and no image of the run{nearest(path.as_posix(), run.manifest.index)}"
            )
    tables = [run.manifest.loc[named]]
    if files:
        scanned = scan_paths(files, progress=progress)
        tables += [run.manifest[run.manifest["sha256"].isin(scanned["sha256"])]]
        tables += [scanned[~scanned["sha256"].isin(run.manifest["sha256"])].assign(label="", boat="")]
    images = pd.concat(tables)
    images = images[~images.index.duplicated()]
    broken = images[images["status"] != OK]
    if len(broken):
        raise InputError(
            f"{broken['path'].iloc[0]}: {broken['status'].iloc[0]}; {len(broken)} such files; leave them out"
        )
    return images


def _one_of_each(run: OpenRun, *, seed: int) -> pd.DataFrame:
    """Return an image of each class that the fold has not trained on, with a box as far as there are any."""
    images = run.manifest.loc[run.parts.index]
    boxed = images[images.index.isin(run.boxes.index) | (images["label"] == run.no_fish)]
    rest = images[~images["label"].isin(boxed["label"])]
    return pd.concat([boxed, rest]).groupby("label").sample(1, random_state=seed)


def _numbers(run: OpenRun, out: Path, *, most: int, seed: int, console: Console) -> dict[str, object] | None:
    """Measure a sample of each part, write the tables, and return what the page says of them."""
    boxed = run.parts[run.parts.index.isin(run.boxes.index)]
    drawn = boxed.sample(frac=1, random_state=seed).groupby(boxed).head(most).sort_values(ascending=False)
    images = run.manifest.loc[drawn.index]
    decks = choose_decks(images, run.decks, seed=seed)
    rows = track(
        images.iterrows(), "Measuring", total=len(images), console=console, disable=not console.is_terminal, unit=IMAGES
    )
    measured = [_measure(run, row, decks.loc[row.name], seed=seed) for _, row in rows]
    hot = pd.DataFrame([one for heat, _ in measured for one in heat])
    changes = pd.DataFrame([change for heat, change in measured if heat])
    if hot.empty:
        console.print(
            f"Pictures only, no numbers: none of the {len(run.parts)} images that the fold has not trained on has a box "
            f"that leaves room beside it"
        )
        return None
    write_table(hot.set_index("image_id"), out / HEAT)
    write_table(changes.set_index("image_id"), out / CHANGED)
    means, changed = heat_means(hot), change_means(changes.set_index("image_id"), seed=seed)
    verdicts = [verdict(row) for _, row in changed.iterrows()]
    console.print(heat_view(means), change_view(changed), *verdicts, sep="\n")
    return {
        "heat": means.to_dict("records"),
        "changes": changed.to_dict("records"),
        "verdicts": verdicts,
        "figure": figure_uri(plot_changes(changes, columns=CHANGES), dpi=DPI),
    }


def _measure(
    run: OpenRun, row: pd.Series, deck_id: str, *, seed: int
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return an image's rows of both tables; none if its boxes leave no room beside them."""
    case = _case(run, row)
    if case.label is None or box_share(case) > WHOLE:
        return [], {}
    facts = {"image_id": case.image_id, "part": run.parts[case.image_id], "label": row["label"], "boat": row["boat"]}
    change = change_row(run.looker, changed_views(case, _deck(run, deck_id), seed=seed), case.label)
    return [{**facts, **one} for one in heat_rows(run.looker, case, case.label)], {**facts, "deck": deck_id, **change}


def _case(run: OpenRun, row: pd.Series) -> Case:
    return read_case(run.looker, row, run.boxes)


def _deck(run: OpenRun, deck_id: str) -> Case | None:
    return _case(run, run.decks.loc[deck_id]) if deck_id else None


def _picture(run: OpenRun, case: Case, row: pd.Series, *, layer: str, seed: int) -> dict[str, object]:
    """Return what the page shows of one photograph."""
    deck_id = choose_decks(row.to_frame().T, run.decks, seed=seed).iloc[0]
    scale = _SIDE_PX / max(row["height"], row["width"])
    photo_hw = max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale))
    photo = read_small(row["path"], image_hw=photo_hw)
    drawn = draw_case(run.looker, case, _deck(run, deck_id), photo=photo, layer=layer, seed=seed)
    return {"label": row["label"], "boat": row["boat"], "part": run.parts.get(case.image_id, ""), **drawn}
