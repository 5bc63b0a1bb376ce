"""Pictures of what a detector finds and misses, by type and size, as the improved RetinaNet's paper has them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.windows import WINDOWS, to_uint8
from napari_uld.evaluation.by_size import size_bins
from napari_uld.evaluation.froc import froc
from napari_uld.inference.catalogue import OPERATING_RATE
from napari_uld.lesions.annotations import LesionType
from napari_uld.progress import Progress, Work

from ..data.key_slices import SOFT_TISSUE, KeySlice
from ..evaluate import Found

# Side of a tile, and how much of it a lesion takes at most.
TILE_MM, LARGEST_SHARE = 100.0, 0.7
# Examples of a size.
EXAMPLES = 4
TRUE, HIT, FALSE = "#FFE000", "#20E060", "#FF4545"
TILE_INCHES = 2.6
# Height of a score, of its tile's.
TEXT_SHARE = 0.06


class Lesion(NamedTuple):
    """A true lesion: of which image of the data set, and which of its lesions."""

    image: int
    row: int


def open_gallery(folder: Path, data: Path) -> Callable[[Found], Work[None]]:
    """Make the folder, before there is anything to draw into it; give what draws (see `draw_gallery`)."""
    folder.mkdir(exist_ok=True)
    return partial(draw_gallery, folder, data)


def draw_gallery(folder: Path, data: Path, found: Found) -> Work[None]:
    """Draw a PNG for each type of lesion, or one of all where no type is known, at two false positives per image.

    Each column has a size. Its tiles are examples from the surest to the least sure, as many lesions between each and
    the next: where some are missed, one of them is the last.

    Parameters
    ----------
    data
        Folder in DeepLesion's layout that the slices are of.
    """
    point = float(froc(found.matches, [OPERATING_RATE]).scores[0])
    by_type = lesions_by_type(found.slices)
    for number, (lesion_type, columns) in enumerate(by_type.items()):
        name = "all" if [*by_type] == [LesionType.UNKNOWN] else lesion_type.name.lower()
        chosen = [choose(lesions, found, EXAMPLES) for lesions in columns.values()]
        figure = Figure(layout="constrained")
        tiles = figure.subplots(max(map(len, chosen)), len(columns), squeeze=False)
        height, width = tiles.shape
        figure.set_size_inches(TILE_INCHES * width, (TILE_INCHES + 0.45) * height + 0.6)
        figure.suptitle(_headline(name, [lesion for each in columns.values() for lesion in each], found, point))
        for axes in tiles.flat:
            axes.set(xticks=[], yticks=[], box_aspect=1)
            axes.spines[:].set_visible(False)
        for (size, lesions), of_size, axes_of_size in zip(columns.items(), chosen, tiles.T, strict=True):
            axes_of_size[0].set_title(f"{size}: {_count(lesions, found, point)}", fontsize="medium")
            for lesion, axes in zip(of_size, axes_of_size, strict=False):
                yield Progress(number, len(by_type), f"Drawing {name}")
                _draw_tile(axes, _seen(data, found.slices[lesion.image], lesion_type), lesion, found, point)
        # Without the library's version in it, the same detections give the same file.
        figure.savefig(folder / f"{name}.png", format="png", dpi=100, metadata={"Software": None})


def lesions_by_type(slices: Sequence[KeySlice]) -> dict[LesionType, dict[str, list[Lesion]]]:
    """The lesions of all slices by their coarse type and by their size; what nobody measured has a size of its own."""
    diameters = tuple(key.diameters for key in slices)
    bins = size_bins(diameters)
    if any(np.isnan(each).any() for each in diameters):
        bins["not measured"] = [np.isnan(each) for each in diameters]
    by_type: dict[LesionType, dict[str, list[Lesion]]] = {}
    for lesion_type in LesionType:
        columns = {
            size: [
                Lesion(image, int(row))
                for image, which in enumerate(chosen)
                for row in np.flatnonzero(which)
                if _type(slices[image], int(row)) is lesion_type
            ]
            for size, chosen in bins.items()
        }
        if any(columns.values()):
            by_type[lesion_type] = columns
    return by_type


def choose(lesions: Sequence[Lesion], found: Found, most: int) -> list[Lesion]:
    """At most that many of the lesions, evenly from the one of the highest score to the one of the lowest."""
    scores = np.asarray([_score(lesion, found) for lesion in lesions])
    order = np.argsort(-scores, kind="stable")
    places = np.linspace(0, len(lesions) - 1, min(most, len(lesions))).round().astype(int)
    return [lesions[row] for row in order[places]]


def _type(key: KeySlice, row: int) -> LesionType:
    return key.types[row] if key.types else LesionType.UNKNOWN


def _score(lesion: Lesion, found: Found) -> float:
    """Of the first detection that hit it, minus infinity where none did."""
    return float(found.matches.lesion_scores[lesion.image][lesion.row])


def _count(lesions: Sequence[Lesion], found: Found, point: float) -> str:
    """How many of them are found at the operating point."""
    if not lesions:
        return "none"
    return f"{sum(_score(lesion, found) >= point for lesion in lesions)} of {len(lesions)} found"


def _headline(name: str, lesions: Sequence[Lesion], found: Found, point: float) -> str:
    rate = f"{OPERATING_RATE:g} false positives per image (a score of {point:.2f})"
    colours = "yellow: true, green: hit, red and dashed: false"
    return f"{name.replace('_', ' ')}: {_count(lesions, found, point)} at {rate}\n{colours}"


def _seen(data: Path, key: KeySlice, lesion_type: LesionType) -> np.ndarray:
    """The slice (H, W) as uint8, in the window that its lesions' type is read in."""
    # A slice of phantoms has the window of another lesion where several are in the scan.
    windows = {LesionType.UNKNOWN: key.window, LesionType.LUNG: WINDOWS["lung"], LesionType.BONE: WINDOWS["bone"]}
    hu = read_slices(data, key.series, [key.number]).hu[0]
    return to_uint8(hu, windows.get(lesion_type, SOFT_TISSUE))


def _draw_tile(axes: Axes, image: np.ndarray, lesion: Lesion, found: Found, point: float) -> None:
    """A lesion in the middle, what is true and what is found about it, and what became of it."""
    key = found.slices[lesion.image]
    box, score = key.boxes[lesion.row], _score(lesion, found)
    half = max(TILE_MM / key.spacing[2], float((box[2:] - box[:2]).max()) / LARGEST_SHARE) / 2
    x, y = (box[:2] + box[2:]) / 2
    left, top = (max(int(centre - half), 0) for centre in (x, y))
    part = image[top : int(y + half) + 2, left : int(x + half) + 2]
    extent = (left - 0.5, left + part.shape[1] - 0.5, top + part.shape[0] - 0.5, top - 0.5)
    axes.set_facecolor("black")
    axes.imshow(part, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
    for each in key.boxes:
        draw_box(axes, each, TRUE, 2.4)
    for each, sure, false in zip(*found.on_slice(lesion.image), strict=True):
        if sure >= point:
            # Dashes for those who do not tell red from green.
            draw_box(axes, each, FALSE if false else HIT, 1.2, "--" if false else "-", f"{sure:.2f}")
    diameter = f"{key.diameters[lesion.row]:.1f} mm, " if np.isfinite(key.diameters[lesion.row]) else ""
    outcome = f"score {score:.2f}" if score >= point else "missed"
    axes.set_xlabel(f"{diameter}{outcome}\n{key.series}, slice {key.number}", fontsize="small")


def draw_box(axes: Axes, box: np.ndarray, colour: str, width: float, dashes: str = "-", text: str = "") -> None:
    """A frame that enters the tile, and a text where its upper left corner is, or would be."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x1, y1, x2, y2 = box
    if x2 < left or x1 > right or y2 < top or y1 > bottom:
        return
    frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, linestyle=dashes)
    axes.add_patch(frame)
    corner = max(x1, left), max(y1, top + TEXT_SHARE * (bottom - top))
    note = axes.annotate(text, corner, (1, 2), textcoords="offset points", color=colour, fontsize="small", clip_on=True)
    note.set_path_effects([withStroke(linewidth=1.5, foreground="black")])
