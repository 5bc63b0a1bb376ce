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


# Okabe and Ito's, without the blues and greens of people's lesions; a method keeps its place and so its colour.
PLACES = {
    ComparedPart.FIRST: "#F0A000",
    ComparedPart.SECOND: "#CC79A7",
    ComparedPart.THIRD: "#F0E442",
    ComparedPart.FOURTH: "#D55E00",
    ComparedPart.FIFTH: "#8C9EFF",
}
REFERENCE_COLOUR = "#FFFFFF"
MISSED = "missed"
# How many dashes a side of a box has that is no lesion's.
DASHES = 3
# Pixels of the screen from a box to what is written beside it, and from one line to the next.
BESIDE, LINE = 6.0, 17.0


@dataclass(frozen=True)
class Written:
    """What a method has to say beside a box: a text in its colour, on its line from the box's top on."""

    box: Box
    text: str
    colour: str
    line: int


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
        self._lines = {part: SliceLines(viewer, part, (), later) for part in drawn}
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
            show_labels(layer, [_placed(each, self._z, case.volume.spacing, zoom) for each in self._written])

    def _zoomed(self) -> None:
        if self._written:
            self._later(self._write)


def drawn_of(method: Method, point: Point, native: int, z: int, colour: str) -> list[Drawn]:
    """Give what counts of a method on a slice: boxes of what hits a lesion solid, of false positives dashed."""
    counts, drawn = method.on_scan.counts(point), []
    for i, mark in enumerate(method.marked):
        if counts[i] and native in mark.boxes:
            solid = _box(z, mark.boxes[native], colour)
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
    written = []
    order = sorted(places[method.name] for method in compared.methods)
    lesions = [(i, lesion.boxes[native]) for i, lesion in enumerate(compared.lesions) if native in lesion.boxes]
    for method, point in zip(compared.methods, points, strict=True):
        counts = method.on_scan.counts(point)
        texts = [(box, said(method, point, i) or MISSED) for i, box in lesions]
        texts += [
            (mark.boxes[native], f"{mark.score:.2f}")
            for i, mark in enumerate(method.marked)
            if counts[i] and method.on_scan.false[i] and native in mark.boxes and mark.score is not None
        ]
        colour, line = PLACES[places[method.name]], order.index(places[method.name])
        written += [Written(box, text, colour, line) for box, text in texts]
    return written


def said(method: Method, point: Point, lesion: int) -> str:
    """Say with which score a method found a lesion of the reference, "" where it did not."""
    score = method.on_scan.lesion_scores[lesion]
    if score == -np.inf or score < point.score:
        return ""
    return "marked" if method.on_scan.scores is None else f"{score:.2f}"


def _placed(written: Written, z: int, spacing: tuple[float, float, float], zoom: float) -> Drawn:
    """Put what is written to the right of its box, below the lines of the methods before."""
    _, dy, dx = spacing
    _, top, right, _ = written.box
    place = np.array([z, top + written.line * LINE / zoom / dy, right + BESIDE / zoom / dx])
    corners = rectangle(z, written.box)
    return Drawn("", Kind.DETECTIONS, corners, written.colour, label=written.text, place=place)


def _box(z: int, box: Box, colour: str) -> Drawn:
    return Drawn("", Kind.DETECTIONS, rectangle(z, box), colour)


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
