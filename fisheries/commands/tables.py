"""Commands that make tables, photographs and features to train on, and that look at them.

Everything heavy is imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fisheries.console import make_console

if TYPE_CHECKING:
    from rich.console import Console

commands = typer.Typer()
features_app = typer.Typer(help="Features of photographs that were made elsewhere.", no_args_is_help=True)
commands.add_typer(features_app, name="features")
show_app = typer.Typer(help="Pictures of what goes into a network.", no_args_is_help=True)
commands.add_typer(show_app, name="show")
DataDir = Annotated[Path, typer.Argument(help="folder with train/<class>/ and test*/ in it")]
ManifestCsv = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="manifest.csv; `fisheries manifest DIR` makes it")
]


@commands.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="where to; must not exist yet")],
    train: Annotated[int, typer.Option(help="training images")] = 800,
    stage1: Annotated[int, typer.Option(help="test images of the training boats")] = 100,
    stage2: Annotated[int, typer.Option(help="test images of boats never seen")] = 200,
    boats: Annotated[int, typer.Option(help="boats of the training images")] = 20,
    new_boats: Annotated[int, typer.Option(help="boats of stage 2")] = 10,
    leak: Annotated[
        float, typer.Option(help="0: every boat catches all classes; 1: classes keep to their boats")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="another seed is another world")] = 0,
) -> None:
    """Draw the embedded boats: a small competition with everything that makes the real one hard.

    Example: `fisheries synth data/boats --leak 1`
    """
    from fisheries.data.synthetic import draw_competition

    console = make_console()
    draw_competition(
        folder,
        train=train,
        stage1=stage1,
        stage2=stage2,
        boats=boats,
        new_boats=new_boats,
        leak=leak,
        seed=seed,
        progress=console.is_terminal,
    )
    console.print(f"{folder}: {train} training images of {boats} boats, {stage1} + {stage2} test images")


@commands.command()
def manifest(
    data_dir: DataDir,
    out: Annotated[Path | None, typer.Option(help="folder for them; by default one below tables/")] = None,
    annotations: Annotated[list[Path] | None, typer.Option(help="box files; by default those in DATA_DIR")] = None,
    boats: Annotated[
        Path | None, typer.Option(help="CSV image_id,boat; by default DATA_DIR/boats.csv, or else they are found")
    ] = None,
    no_fish: Annotated[str, typer.Option(help="class whose boxes are not fish")] = "NoF",
) -> None:
    """Check every photograph and box once, and write `manifest.csv` and `boxes.csv`.

    Example: `fisheries manifest data/ncfm`
    """
    from fisheries.analysis.summary import summary
    from fisheries.data.tables import load_or_scan, tables_dir_of

    console = make_console()
    out = out or tables_dir_of(data_dir, Path("tables"))
    images, boxes = load_or_scan(
        data_dir, annotations=annotations, boats=boats, no_fish=no_fish, tables_dir=out, progress=console.is_terminal
    )
    console.print(summary(images, boxes))
    console.print(f"Wrote {out / 'manifest.csv'} and {out / 'boxes.csv'}")


@commands.command()
def boats(
    manifest_csv: ManifestCsv,
    out: Annotated[Path | None, typer.Option(help="CSV to write; by default boats.csv beside the manifest")] = None,
    merge: Annotated[
        list[str] | None, typer.Option(help="names of boats that are one, such as cam_002,cam_007")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="name of a boat that is several")] = None,
) -> None:
    """Find the boats: which photographs are of one camera, without labels, by what stays the same in its frames.

    Writes `boats.csv` and beside it `boats.html`, to be looked through. Correct the column `boat` by hand, or with
    `--merge` and `--split`: corrections are kept on the next run. A `boats.csv` of your own wins over all of it.

    Example: `fisheries boats tables/ncfm-1a2b3c4d/manifest.csv --merge cam_002,cam_007`
    """
    from fisheries.analysis.contact_sheet import contact_sheet
    from fisheries.analysis.summary import boats_view
    from fisheries.data.boats import find_boats, merge_boats, read_boats, split_boat, update_boats
    from fisheries.data.tables import fill_boats, read_photographs
    from fisheries.schema import write_atomic, write_table

    console = make_console()
    out = out or manifest_csv.with_name("boats.csv")
    previous = read_boats(out) if out.is_file() else None
    images, thumbnails = read_photographs(manifest_csv, progress=console.is_terminal)
    found = find_boats(images, thumbnails, progress=console.is_terminal)
    table = update_boats(found, previous, images, thumbnails)
    for names in merge or []:
        table = merge_boats(table, [name.strip() for name in names.split(",")])
    for name in split or []:
        table = split_boat(table, name, images, thumbnails)
    write_table(table, out)
    page = out.with_suffix(".html")
    write_atomic(page, contact_sheet(table, images, progress=console.is_terminal).encode())
    console.print(boats_view(table, images))
    console.print(f"Wrote {out}, and {page} to be looked through")
    if fill_boats(manifest_csv, table, previous):
        console.print(f"  {manifest_csv} has them in its column boat")


@commands.command()
def bursts(manifest_csv: ManifestCsv) -> None:
    """Find bursts: near-duplicate frames of one moment, in train and test together, which no split should divide.

    Writes them into the manifest's column `burst`, as `fisheries manifest` does with photographs that are new.

    Example: `fisheries bursts tables/ncfm-1a2b3c4d/manifest.csv`
    """
    from fisheries.analysis.summary import bursts_view
    from fisheries.data.bursts import find_bursts
    from fisheries.data.tables import read_photographs
    from fisheries.schema import write_table

    console = make_console()
    images, thumbnails = read_photographs(manifest_csv, progress=console.is_terminal)
    images = images.assign(burst=find_bursts(images, thumbnails, progress=console.is_terminal))
    write_table(images, manifest_csv)
    console.print(bursts_view(images))
    console.print(f"Wrote {manifest_csv}, column burst")


@commands.command()
def split(
    manifest_csv: ManifestCsv,
    by: Annotated[str, typer.Option(help="boat, burst or random: what is kept on one side")] = "boat",
    folds: Annotated[str, typer.Option(help="how many, or auto: the most that lack no class on either side")] = "auto",
    holdout: Annotated[str, typer.Option(help="boats that no fold trains on: how many, or names, such as 3,7")] = "0",
    seen_share: Annotated[float, typer.Option(help="share held out of the boats that a fold trains on")] = 0.1,
    boats: Annotated[Path | None, typer.Option(help="CSV image_id,boat; by default the manifest's boats")] = None,
    seed: Annotated[int, typer.Option(help="of the search")] = 0,
    out: Annotated[Path | None, typer.Option(help="CSV to write; by default folds.csv beside the manifest")] = None,
) -> None:
    """Plan folds: search for those that lack no class and have its share of each, and say how many the data carries.

    Example: `fisheries split tables/ncfm-1a2b3c4d/manifest.csv --folds 3`, then
    `python train.py split=file split.file=tables/ncfm-1a2b3c4d/folds.csv`
    """
    from fisheries.analysis.fold_plan import folds_view, plan_folds, plan_view
    from fisheries.data.splits import check_folds, make_folds, missing_classes, usable_images
    from fisheries.data.tables import attach_boats, read_manifest
    from fisheries.schema import InputError, table_hash, write_table

    console = make_console()
    if folds != "auto" and not folds.isdigit():
        raise InputError(f"--folds {folds}: expected a whole number, or auto")
    images = read_manifest(manifest_csv)
    images = images if boats is None else attach_boats(images, boats)
    apart = int(holdout) if holdout.isdigit() else [name.strip() for name in holdout.split(",")]
    count = None if folds == "auto" else int(folds)
    console.print(plan_view(plan_folds(images, split=by, seed=seed, holdout=apart, progress=console.is_terminal)))
    table = make_folds(images, split=by, folds=count, seed=seed, holdout=apart, seen_share=seen_share)
    check_folds(table, images)
    if count is None:
        table.attrs.clear()  # the plan has said it
    console.print(folds_view(table, images))
    left_out = len(usable_images(images)) - len(table)
    if left_out:
        console.print(f"{left_out} images of unknown boats are in no fold: their boat could be on both sides")
    for line in missing_classes(table, images["label"]):
        console.print(f"  [yellow]{line}[/]")
    out = out or manifest_csv.with_name("folds.csv")
    write_table(table, out)
    console.print(f"Wrote {out} ({table_hash(table)}); train with split=file split.file={out}")


@commands.command()
def leakage(
    manifest_csv: ManifestCsv,
    images: Annotated[Path | None, typer.Option(help="folder of the photographs, if the manifest has no paths")] = None,
    boxes: Annotated[Path | None, typer.Option(help="boxes.csv; by default the one beside the manifest")] = None,
    features: Annotated[Path | None, typer.Option(help=".npz with features (N, F) and image_id (N,)")] = None,
    run: Annotated[Path | None, typer.Option(help="folder of a run: how well do its features tell the boat?")] = None,
    out: Annotated[Path, typer.Option(help="CSV to write; its page goes beside it")] = Path("leakage.csv"),
    seed: Annotated[int, typer.Option(help="of folds, permutations and bootstraps")] = 0,
) -> None:
    """Measure the leak: how much of the class can be had without a look at the fish, and what is left on unseen boats?

    Needs `image_id,label` and, for a start, `width,height` and `boat`; with photographs it looks at these, too.

    Example: `fisheries leakage tables/ncfm-1a2b3c4d/manifest.csv`
    """
    from fisheries.analysis.leakage import leakage as measure
    from fisheries.analysis.leakage import leakage_folds
    from fisheries.analysis.leakage_page import leakage_page
    from fisheries.analysis.leakage_words import leakage_view
    from fisheries.data.cues import collect_cues
    from fisheries.data.tables import read_manifest
    from fisheries.schema import BOXES, read_table, write_atomic

    console = make_console()
    table = read_manifest(manifest_csv)
    boxes = boxes or next((path for path in [manifest_csv.with_name("boxes.csv")] if path.is_file()), None)
    probed = None if run is None else _probe_boats(run, seed=seed, console=console)
    cues = collect_cues(
        table,
        images=images,
        boxes=None if boxes is None else read_table(boxes, BOXES, unique=False),
        features=features,
        progress=console.is_terminal,
    )
    rows = measure(table, cues, leakage_folds(table, seed=seed), seed=seed, progress=console.is_terminal)
    write_atomic(out, rows.to_csv().encode())
    page = out.with_suffix(".html")
    write_atomic(page, leakage_page(rows, table, boat_probe=probed).encode())
    console.print(leakage_view(rows))
    if probed is not None:
        console.print(
            f"The run's features tell {probed['boats']:.0f} boats apart in {probed['accuracy']:.0%} of the images; "
            f"always saying the commonest would in {probed['largest_share']:.0%}"
        )
    console.print(f"Wrote {out} and {page}")


@commands.command()
def crops(
    manifest_csv: ManifestCsv,
    boxes: Annotated[
        list[Path],
        typer.Option(help="boxes.csv, another table with a box a row, or a run's folder; an image takes its first's"),
    ],
    context: Annotated[float, typer.Option(help="how many times as wide and high as its box a crop is, 1 to 4")] = 1.2,
    square: Annotated[bool, typer.Option("--square", help="as wide as high")] = False,
    out: Annotated[Path | None, typer.Option(help="folder for them; by default crops beside the manifest")] = None,
    no_fish: Annotated[str, typer.Option(help="class whose photographs have no crops")] = "NoF",
) -> None:
    """Cut the fish out of their frames into a folder laid out as any other, to train the second of two stages.

    Crops keep their frame's boat and burst. With `--boxes boxes.csv --boxes runs/RUN`, a training image is cut at its
    annotated boxes, and any other where the run's networks, of `model.predict_box=true`, see the fish.

    Example: `fisheries crops tables/ncfm-1a2b3c4d/manifest.csv --boxes tables/ncfm-1a2b3c4d/boxes.csv --out data/crops`,
    then `python train.py data=folder data.root=data/crops`
    """
    from fisheries.crops import cut_crops
    from fisheries.data.cropping import check_rule, read_boxes
    from fisheries.data.tables import read_manifest
    from fisheries.schema import TRAIN

    console = make_console()
    rule = check_rule({"context": context, "square": square}, "--context")
    out = out or manifest_csv.with_name("crops")
    images = read_manifest(manifest_csv)
    cut = cut_crops(images, read_boxes(boxes), out, rule=rule, no_fish=no_fish, progress=console.is_terminal)
    console.print(f"{out}: {len(cut.table)} crops of {cut.table['frame'].nunique()} images, {cut.written} of them new")
    train = int((cut.without_box["subset"] == TRAIN).sum())
    test = len(cut.without_box) - train
    console.print(f"  without a box, and so without a crop: {train} training and {test} test images")
    for name in cut.missing:
        console.print(f"  [yellow]no crop to train on of {name}[/]: a second stage can't follow a first that knows it")


@features_app.command("import")
def import_features(
    features_npz: Annotated[Path, typer.Argument(help=".npz with features (N, F) and image_id (N,)")],
    manifest_csv: Annotated[
        Path, typer.Option("--manifest", help="CSV with image_id, label and perhaps boat, width, height")
    ],
    out: Annotated[Path | None, typer.Option(help="folder for data.root; by default data/<name of the file>")] = None,
) -> None:
    """Bring in features made elsewhere, to train a head on them with no photographs at all.

    Example: `fisheries features import features.npz --manifest images.csv --out data/features`, then
    `python train.py data=ncfm data.root=data/features model=imported fold=all`
    """
    from fisheries.data.imported import import_features as bring_in
    from fisheries.schema import TRAIN

    console = make_console()
    out = out or Path("data") / features_npz.stem
    rows = bring_in(features_npz, manifest_csv, out)
    train = rows["subset"] == TRAIN
    console.print(f"Wrote {out}: features of {train.sum()} training and {(~train).sum()} test images")
    if rows.attrs["without"]:
        console.print(f"  {rows.attrs['without']} images of {manifest_csv} have no features and are left out")
    console.print(f"Train on them with: python train.py data=folder data.root={out} model=imported fold=all")


@show_app.command("transforms")
def show_transforms(
    image: Annotated[
        Path | None, typer.Argument(help="a photograph; by default one of the embedded boats is drawn")
    ] = None,
    transform: Annotated[
        list[str] | None, typer.Option(help="choice of the group transform, such as heavy; by default all of them")
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="boxes.csv with a box of IMAGE, by its file's name")] = None,
    views: Annotated[int, typer.Option(min=1, max=20, help="side by side, each with a seed of its own")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="of the first view, and of the boat that is drawn")] = 0,
    out: Annotated[Path, typer.Option(help="PNG to write")] = Path("transforms.png"),
) -> None:
    """Draw a photograph under every step of the augmentation by itself, and under every choice of `transform`.

    Example: `fisheries show transforms photo.jpg --transform heavy --transform night --out sheet.png`
    """
    from fisheries.analysis.page import figure_png
    from fisheries.analysis.transform_sheet import box_of, example, sheet_rows, transform_sheet
    from fisheries.data.images import read_image
    from fisheries.launch import transform_choices
    from fisheries.schema import BOXES, InputError, nearest, read_table, write_atomic

    console = make_console()
    known = transform_choices()
    for name in transform or []:
        if name not in known:
            raise InputError(f"--transform {name}: no such choice{nearest(name, known)}; there are {', '.join(known)}")
    if image is None and boxes is not None:
        raise InputError(f"--boxes {boxes}: is for a photograph of yours: give IMAGE, too")
    pixels, box = example(seed) if image is None else (read_image(image), None)
    if image is not None and boxes is not None:
        table = read_table(boxes, BOXES, unique=False)
        box = box_of(image.name, table, image_hw=pixels.shape[:2], source=boxes)
    rows = sheet_rows({name: known[name] for name in transform or known})
    sheet = transform_sheet(pixels, box, rows, views=views, seed=seed, progress=console.is_terminal)
    write_atomic(out, figure_png(sheet))
    console.print(f"Wrote {out}")


def _probe_boats(run_dir: Path, *, seed: int, console: Console) -> dict[str, float]:
    from fisheries.analysis.probes import boat_probe
    from fisheries.predict import run_features
    from fisheries.schema import MANIFEST, read_table

    images = read_table(run_dir / "manifest.csv", MANIFEST)
    return boat_probe(run_features(run_dir, console=console), images["boat"], images["burst"], seed=seed)
