"""Methods side by side on the slice that is shown: a layer each, one for the reference, one for what is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from napari.components import ViewerModel
from napari.layers import Points

from napari_uld.evaluation.one_scan import Point
from napari_uld.lesions.findings import Box
from napari_uld.viewer.layers.marks import SPATIAL, Drawn, Kind, label_features, labels_in, rectangle, show_labels
from napari_uld.viewer.layers.parts import geometry
from napari_uld.viewer.layers.slice_layer import SliceLayer, SliceLines
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import Compared, Method


class ComparedPart(StrEnum):
    """The layers, from the bottom up; those of methods are called as the methods are."""

    REFERENCE = "Compare: reference"
    FIRST = "Compare: first"
    SECOND = "Compare: second"
    THIRD = "Compare: third"
    FOURTH = "Compare: fourth"
    FIFTH = "Compare: fifth"
    LABELS = "Compare: scores"


# Told apart by readers with any colour vision, on bright and on dark organs; none is the review's.
PLACES = {
    ComparedPart.FIRST: "#D0FFA8",
    ComparedPart.SECOND: "#FF8CE0",
    ComparedPart.THIRD: "#F0E442",
    ComparedPart.FOURTH: "#D55E00",
    ComparedPart.FIFTH: "#8C9EFF",
}
REFERENCE_COLOUR = "#FFFFFF"
MISSED = "missed"
# How many dashes a side of a box has that is no lesion's.
DASHES = 3
# Pixels of the screen from a box to what is written beside it, from one line to the next, and what a letter takes.
BESIDE, LINE, CHARACTER = 6, 18, 9


@dataclass(frozen=True)
class Written:
    """What a method has to say beside a box: a text in its colour."""

    box: Box
    text: str
    colour: str


class ComparedLayers:
    """The layers of a comparison.

    Parameters
    ----------
    viewer
        The viewer that they are in.
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(self, viewer: ViewerModel, later: Callable[[Callable[[], None]], object]) -> None:
        self._viewer = viewer
        self._later = later
        drawn = [part for part in ComparedPart if part != ComparedPart.LABELS]
        self._lines = {part: SliceLines(viewer, part, (ComparedPart.LABELS,), later) for part in drawn}
        self._labels = SliceLayer(viewer, ComparedPart.LABELS, ())
        self._written: Sequence[Written] = ()
        self._z = 0
        self._case: Case | None = None
        viewer.scene.camera.events.zoom.connect(self._zoomed)

    def show(
        self, case: Case, compared: Compared, points: Sequence[Point], places: Mapping[str, ComparedPart], z: int
    ) -> None:
        """Show a comparison on slice `z`, in place of what was shown before.

        Parameters
        ----------
        points
            Of each method, which of its marks count.
        places
            The layer of each method.
        """
        native = case.volume.native_slice(z)
        drawn: dict[ComparedPart, list[Drawn]] = {}
        boxes = [lesion.boxes[native] for lesion in compared.lesions if native in lesion.boxes]
        drawn[ComparedPart.REFERENCE] = [_box(z, box, REFERENCE_COLOUR) for box in boxes]
        for method, point in zip(compared.methods, points, strict=True):
            part = places[method.name]
            drawn[part] = drawn_of(method, point, native, z, PLACES[part])
        for part, lines in self._lines.items():
            if drawn.get(part):
                lines.draw(case, drawn[part], z)
            lines.see(bool(drawn.get(part)))
        self._case, self._z, self._written = case, z, written_on(compared, points, places, native)
        self._write()

    def name(self, names: Mapping[ComparedPart, str]) -> None:
        """Call the layers that there are as the methods are called that they show."""
        for part, lines in self._lines.items():
            layer, name = lines.layer, f"Compare: {names[part]}" if part in names else part.value
            if layer is not None and layer.name != name:
                layer.name = name

    def hide(self) -> None:
        """Show nothing of it, as where slices are cut otherwise."""
        self._written = ()
        for lines in (*self._lines.values(), self._labels):
            lines.see(False)

    def remove(self) -> None:
        """Take them away."""
        self.hide()
        for layer in (*self._lines.values(), self._labels):
            layer.remove()
        self._case = None

    def release(self) -> None:
        """Take them away for good."""
        self.remove()
        for lines in self._lines.values():
            lines.release()
        self._viewer.scene.camera.events.zoom.disconnect(self._zoomed)

    def _write(self) -> None:
        if self._case is None or not (self._written or self._labels.layer is not None):
            return
        case, zoom = self._case, self._viewer.scene.camera.zoom
        layer = self._labels.of(case, lambda: _labels_layer(case))
        self._labels.see(bool(self._written))
        if layer.visible:
            show_labels(layer, laid_out(self._written, self._z, case.volume.spacing, zoom))

    def _zoomed(self) -> None:
        if self._written:
            self._later(self._write)


def drawn_of(method: Method, point: Point, native: int, z: int, colour: str) -> list[Drawn]:
    """Give what counts of a method on a slice: boxes of what hits a lesion solid, of false positives dashed."""
    counts, drawn = method.on_scan.counts(point), []
    for i, mark in enumerate(method.marked):
        if counts[i] and native in mark.boxes:
            solid = _box(z, mark.boxes[native], colour, thick=not method.on_scan.false[i])
            drawn += dashed(solid) if method.on_scan.false[i] else [solid]
    return drawn


def dashed(solid: Drawn) -> list[Drawn]:
    """Give the dashes of a closed line, as many on each of its sides."""
    starts = solid.corners
    along = np.roll(starts, -1, axis=0) - starts
    # Dashes are as long as the gaps, and there is one at each corner.
    ends = [(2 * i / (2 * DASHES - 1), (2 * i + 1) / (2 * DASHES - 1)) for i in range(DASHES)]
    return [
        Drawn("", solid.kind, np.stack([start + first * side, start + last * side]), solid.colour)
        for start, side in zip(starts, along, strict=True)
        for first, last in ends
    ]


def written_on(
    compared: Compared, points: Sequence[Point], places: Mapping[str, ComparedPart], native: int
) -> list[Written]:
    """Give what is written on a slice: beside each lesion every method's score, or that it missed; others' scores."""
    lesions = {i: lesion.boxes[native] for i, lesion in enumerate(compared.lesions) if native in lesion.boxes}
    of_lesions, of_others = [], []
    for method, point in zip(compared.methods, points, strict=True):
        counts, colour = method.on_scan.counts(point), PLACES[places[method.name]]
        of_lesions += [Written(box, said(method, point, i) or MISSED, colour) for i, box in lesions.items()]
        # A lesion whose box is on the slice says its scores.
        own = counts & ~np.isin(method.on_scan.lesion, list(lesions))
        of_others += [
            Written(mark.boxes[native], f"{mark.score:.2f}", colour)
            for mark, written in zip(method.marked, own, strict=True)
            if written and native in mark.boxes and mark.score is not None
        ]
    return of_lesions + of_others


def said(method: Method, point: Point, lesion: int) -> str:
    """Say with which score a method found a lesion of the reference, "" where it did not."""
    score = method.on_scan.lesion_scores[lesion]
    if score == -np.inf or score < point.score:
        return ""
    return "marked" if method.on_scan.scores is None else f"{score:.2f}"


def laid_out(written: Sequence[Written], z: int, spacing: tuple[float, float, float], zoom: float) -> list[Drawn]:
    """Put each text to the right of its box, below what stands there already."""
    _, dy, dx = spacing
    # (left, top, right) of each on the screen, in pixels; all are one line high.
    taken = np.zeros((len(written), 3))
    drawn = []
    for i, each in enumerate(written):
        _, top, right, _ = each.box
        # Whole pixels: two lines that touch do not overlap by a rounding error.
        left, y = right * dx * zoom + BESIDE, round(top * dy * zoom) + LINE
        end = left + CHARACTER * len(each.text)
        level = taken[:i][(taken[:i, 0] < end) & (taken[:i, 2] > left), 1]
        while (hit := level[np.abs(level - y) < LINE]).size:
            y = hit.max() + LINE
        taken[i] = left, y, end
        place = np.array([z, y / zoom / dy, left / zoom / dx])
        line = rectangle(z, each.box)
        drawn.append(Drawn("", Kind.DETECTIONS, line, each.colour, label=each.text, place=place))
    return drawn


def _box(z: int, box: Box, colour: str, *, thick: bool = False) -> Drawn:
    return Drawn("", Kind.DETECTIONS, rectangle(z, box), colour, thick)


def _labels_layer(case: Case) -> Points:
    return Points(
        np.zeros((0, SPATIAL)),
        **geometry(case),
        ndim=SPATIAL,
        size=0.01,
        face_color="transparent",
        border_color="transparent",
        features=label_features(()),
        text=labels_in({"feature": "colour"}),
        visible=False,
    )
