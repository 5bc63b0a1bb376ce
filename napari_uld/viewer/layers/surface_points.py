"""Points that a detector put on the surface of the lesion at hand: where they lay first, and where it moved them.

On a slice those are seen that lie on it or near it, the fainter the further away; in 3D all of them. Data coordinates
are voxels (z, y, x).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Points
from napari.utils.color import ColorValue

from napari_uld.lesions.findings import in_voxels
from napari_uld.viewer.layers.marks import SPATIAL, Plane
from napari_uld.viewer.layers.parts import OVERLAYS, Part, geometry
from napari_uld.viewer.layers.slice_layer import SliceLayer
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row, slice_positions

# How far beyond a slice a point is still seen on it, in mm, and how faint it is there.
NEAR_MM, FAINTEST = 4.0, 0.2
# How wide a point is, and between which widths in pixels of the screen.
SIZE_MM, SIZES = 2.0, (5, 11)


NOWHERE = np.zeros((0, SPATIAL))


class PointsPart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    FIRST = "First surface points"
    REFINED = "Surface points"


@dataclass(frozen=True)
class Look:
    """How points are drawn."""

    colour: str
    symbol: str


# Neither has the colour of a mark.
LOOKS = {
    PointsPart.FIRST: Look("#FFC4B8", "cross"),
    PointsPart.REFINED: Look("#FF3B28", "disc"),
}


class SurfacePointsLayers:
    """The two layers of an open case, made when a lesion that has points is first at hand.

    Parameters
    ----------
    viewer
        The viewer that they are in.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        above = tuple(part for part in OVERLAYS if part is not Part.BODIES)
        self._layers = {
            PointsPart.FIRST: _PointsLayer(viewer, PointsPart.FIRST, (PointsPart.REFINED, *above)),
            PointsPart.REFINED: _PointsLayer(viewer, PointsPart.REFINED, above),
        }

    def show(self, case: Case, row: Row | None, plane: Plane | None) -> None:
        """Show the points of a lesion (None: nothing) near a slice, or all of them where slices are not shown."""
        clouds = {} if row is None else surface_points(row, slice_positions(case.volume))
        for part, layer in self._layers.items():
            layer.draw(case, *near(clouds.get(part, NOWHERE), plane, case.volume.spacing))


class _PointsLayer(SliceLayer):
    """One of them; what is hidden is filled when it is seen again."""

    def __init__(self, viewer: ViewerModel, part: PointsPart, under: Collection[StrEnum]) -> None:
        super().__init__(viewer, part, under)
        self._look = LOOKS[part]
        self._places, self._strength = NOWHERE, np.zeros(0)

    def draw(self, case: Case, places: np.ndarray, strength: np.ndarray) -> None:
        """Draw points in place of those that were drawn before."""
        self._places, self._strength = places, strength
        if len(places):
            self.of(case, lambda: _points_layer(case, self._look))
        # An empty layer costs a step nearly as much as a full one.
        self.see(len(places) > 0)

    def see(self, something: bool) -> None:
        """Say whether there is something to be seen, and fill the layer where it is."""
        super().see(something)
        layer = self.layer
        # napari draws a hidden layer's colours on what it showed before.
        if isinstance(layer, Points) and layer.visible:
            _fill(layer, self._places, self._strength, self._look)


def surface_points(row: Row, position: Mapping[int, int]) -> dict[PointsPart, np.ndarray]:
    """Give the points (n, 3) on a lesion's surface in voxels (z, y, x), by layer; none where no detector gave any.

    Parameters
    ----------
    row
        The lesion.
    position
        Index of each slice that is on disk by its native number.
    """
    finding = row.surface
    if finding is None:
        return {}
    clouds = {PointsPart.FIRST: finding.first_points, PointsPart.REFINED: finding.points}
    return {part: in_voxels(cloud, position) for part, cloud in clouds.items() if cloud is not None}


def near(points: np.ndarray, plane: Plane | None, spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Points near a slice, moved onto it, and how strongly each is drawn, (n,) in (0, 1]; all where there is none.

    What lies within half a voxel is on the slice; beyond, it fades until `NEAR_MM`.
    """
    if plane is None:
        return points, np.ones(len(points))
    beyond = np.maximum(np.abs(points[:, plane.axis] - plane.index) - 0.5, 0) * spacing[plane.axis]
    seen = beyond <= NEAR_MM
    places = points[seen].copy()
    places[:, plane.axis] = plane.index
    return places, 1 - (1 - FAINTEST) * beyond[seen] / NEAR_MM


def _points_layer(case: Case, look: Look) -> Points:
    looks: dict[str, Any] = geometry(case)
    return Points(
        NOWHERE,
        **looks,
        ndim=SPATIAL,
        size=SIZE_MM / case.volume.spacing[-1],
        canvas_size_limits=SIZES,
        symbol=look.symbol,
        border_width=0,
        border_color=look.colour,
        face_color=look.colour,
        blending="translucent_no_depth",
        visible=False,
    )


def _fill(layer: Points, places: np.ndarray, strength: np.ndarray, look: Look) -> None:
    """Set a layer's points and how strongly they are drawn."""
    colours = np.tile(np.asarray(ColorValue(look.colour), float), (len(places), 1))
    colours[:, 3] = strength
    if np.array_equal(layer.data, places) and np.allclose(layer.face_color, colours):
        return
    # Each of these would be drawn by itself.
    with layer.events.blocker_all():
        layer.data = places
        layer.face_color = colours
        # Of no width, a border is drawn all the same.
        layer.border_color = colours
    layer.refresh(extent=False, thumbnail=False)
