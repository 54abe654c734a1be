"""Draw the README's pictures from the embedded boats.

.venv/bin/python docs/pictures.py
.venv/bin/python docs/pictures.py runs/heat      of a run that `fisheries explain` has explained
"""

import base64
import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from fisheries.analysis.plots import plot_examples
from fisheries.data.synthetic import draw_competition
from fisheries.data.tables import load_or_scan

HERE = Path(__file__).parent
SHOWN = (0, 2)  # of the classes, one photograph each: ALB and DOL


def examples() -> None:
    """Draw photographs of every class."""
    with TemporaryDirectory() as folder:
        world, tables = Path(folder, "world"), Path(folder, "tables")
        draw_competition(world, progress=True)
        manifest, boxes = load_or_scan(
            world, annotations=None, boats=None, no_fish="NoF", tables_dir=tables, progress=True
        )
        figure = plot_examples(manifest, boxes, per_class=3)
        figure.savefig(HERE / "embedded_boats.jpg", dpi=90, pil_kwargs={"quality": 80})


def heat(run_dir: Path) -> None:
    """Put the heat maps of two classes, from a run's page of explanations, below one another."""
    page = (run_dir / "explain" / "explain.html").read_text()
    found = re.findall(r'src="data:image/png;base64,([^"]+)" alt="heat over the photograph"', page)
    data = [found[number] for number in SHOWN]
    rows = [Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB") for each in data]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:number])))
    sheet.save(HERE / "heat.jpg", quality=80)


if __name__ == "__main__":
    heat(Path(sys.argv[1])) if len(sys.argv) > 1 else examples()
