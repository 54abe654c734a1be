"""What the page says of an image, as plain text, and where its pictures are found."""

from __future__ import annotations

from urllib.parse import urlencode

import pandas as pd

from fisheries.viewer.sources import Source


def photo_url(kind: str, row: pd.Series) -> str:
    """Return the address of a picture: `thumbnail` or `photo`; another photograph of that name has another one."""
    return f"/{kind}?{urlencode({'image_id': row.name, 'version': row['sha256'][:12]})}"


def box_svg(boxes: pd.DataFrame, *, scale: float, color: str) -> str:
    """Return boxes in frame pixels as SVG rectangles in pixels of a picture `scale` times as large."""
    sides = (boxes[["left", "top", "box_width", "box_height"]].astype("float64") * scale).itertuples(index=False)
    return "".join(
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="none" stroke="{color}" stroke-width="2.5" vector-effect="non-scaling-stroke" />'
        for left, top, width, height in sides
    )


def facts(row: pd.Series, boat_before: str) -> dict[str, str]:
    """Return what is known of an image, by name; what is not known is left out.

    Args:
        row: of `Store.images`.
        boat_before: the boat in the manifest, which a run was made with.
    """
    boat = row["boat"] or "not known"
    said = {
        "class": row["label"],
        "corrected": row["new_label"],
        "note": row["note"],
        "log loss": "" if pd.isna(row["log_loss"]) else f"{row['log_loss']:.3f}",
        "subset": row["subset"],
        "boat": boat if row["boat"] == boat_before else f"{boat} (in the manifest: {boat_before or 'not known'})",
        "burst": row["burst"],
        "fold": row["fold"],
        "light": "night" if row["is_night"] else "day",
        "size": f"{row['width']} x {row['height']} px, {row['size_bytes'] / 1000:,.0f} kB" if row["width"] else "",
        "status": row["status"],
        "notes": row["notes"],
        "sha256": row["sha256"],
        "file": row["path"],
    }
    return {name: value for name, value in said.items() if value}


def saved(source: Source) -> str:
    """Return a line that says where a correction is, and how it comes into the next run."""
    read = f"train with {source.option}" if source.option else "the next run reads it"
    return f"Saved in {source.path}; {read}"
