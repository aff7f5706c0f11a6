"""Draws the folders of a package and the imports between them; run by hand.

python tests/support/draw_folders.py    # docs/images/folders-*.svg

The rows are the layers of the import contracts in pyproject.toml, so that every arrow points down.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("agent", "dllm_core")
VOCABULARIES = {"errors", "timing", "close_codes"}
"""Modules that nearly every folder imports; arrows to them are left out."""
WIDTH, ROW, BOX, GAP = 900, 78, 34, 26
FONT = "font-family='ui-sans-serif, system-ui, sans-serif' font-size='14'"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder or a single module at the top of a package, as a box.

    Attributes:
        name: its name within the package.
        x, y: the upper left corner, in pixels.
        width: in pixels.
    """

    name: str
    x: float
    y: float
    width: float


def layers(package: str) -> list[list[str]]:
    """The layers of the import contract of a package, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (rows,) = (c["layers"] for c in contracts if c.get("containers") == [package])
    return [row.replace(":", "|").replace(" ", "").split("|") for row in rows]


def imports(package: str) -> set[tuple[str, str]]:
    """Pairs of folders of which the first imports the second."""
    graph = grimp.build_graph(package)
    pairs = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pairs.add((_folder(importer), _folder(imported)))
    return {(a, b) for a, b in pairs if a and b and a != b}


def _folder(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def placed(rows: list[list[str]]) -> dict[str, Folder]:
    """The boxes of all folders, each row centred and shifted a little against the one above."""
    boxes = {}
    for number, row in enumerate(rows):
        widths = [9 * len(name) + 24 for name in row]
        x = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2 + (-160, 0, 160, 0)[number % 4]
        for name, width in zip(row, widths, strict=True):
            boxes[name] = Folder(name, x, 16 + number * ROW, width)
            x += width + GAP
    return boxes


def drawing(package: str) -> str:
    """The drawing as SVG."""
    rows = layers(package)
    boxes = placed(rows)
    height = 16 + len(rows) * ROW
    pairs = sorted(p for p in imports(package) if p[0] in boxes and p[1] not in VOCABULARIES)
    lines = [_arrow(boxes[above], boxes[below]) for above, below in pairs]
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' {FONT}>",
            f"<rect width='{WIDTH}' height='{height}' fill='white'/>",
            "<g fill='none' stroke='#7a8aa0' stroke-opacity='0.55'>",
            *lines,
            "</g>",
            *(_box(folder) for folder in boxes.values()),
            "</svg>\n",
        ]
    )


def _box(folder: Folder) -> str:
    middle = folder.x + folder.width / 2
    return (
        f"<rect x='{folder.x:.0f}' y='{folder.y}' width='{folder.width}' height='{BOX}' rx='6'"
        f" fill='#eef3fb' stroke='#3b5b8c'/><text x='{middle:.0f}' y='{folder.y + 22}'"
        f" text-anchor='middle'>{escape(folder.name)}</text>"
    )


def _arrow(above: Folder, below: Folder) -> str:
    x1, y1 = above.x + above.width / 2, above.y + BOX
    x2, y2 = below.x + below.width / 2, below.y
    bend = (y2 - y1) / 2
    return (
        f"<path d='M{x1:.0f} {y1} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f}"
        f" {x2:.0f} {y2}'/>"
    )


def main() -> None:
    """Write one drawing a package."""
    for package in PACKAGES:
        path = ROOT / "docs" / "images" / f"folders-{package}.svg"
        path.write_text(drawing(package))
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
