"""Draw the README's picture from the embedded boats: `.venv/bin/python docs/pictures.py`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fisheries.analysis.plots import plot_examples
from fisheries.data.synthetic import draw_competition
from fisheries.data.tables import load_or_scan

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        world, tables = Path(folder, "world"), Path(folder, "tables")
        draw_competition(world, progress=True)
        manifest, boxes = load_or_scan(
            world, annotations=None, boats=None, no_fish="NoF", tables_dir=tables, progress=True
        )
        figure = plot_examples(manifest, boxes, per_class=3)
        figure.savefig(Path(__file__).with_name("embedded_boats.jpg"), dpi=90, pil_kwargs={"quality": 80})
