"""Lesions as bodies in 3D: one surface of all of them, each in the colour of how it stands."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from napari.layers import Surface
from napari.utils.color import ColorValue
from napari.utils.colormaps import Colormap
from scipy.spatial import ConvexHull, QhullError

from napari_uld.lesions.findings import Box
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.layers.parts import LayerTuple, Part, geometry, metadata
from napari_uld.viewer.layers.surface_points import PointsPart, surface_points
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row, slice_positions

# Points of the ellipse that stands for a box.
ROUND = 16
MARKS = tuple(COLOURS)
Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]
# A surface of nothing cannot be made: one triangle without extent.
NOTHING: Mesh = (np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]), np.zeros(3, np.float32))
# Where light comes from, (z, y, x): before, above and beside the patient. napari's own comes from behind where the
# camera shows a patient unmirrored.
LIGHT = np.array([0.5, -0.7, -0.5])
# How bright what is turned away from it is, and what it falls on, of a mark's colour.
SHADE, BRIGHT = 0.3, 0.85
# The same of the lesion at hand, and by what share it is nearer to white.
SHADE_AT_HAND, BRIGHT_AT_HAND, WHITER = 0.45, 1.0, 0.25
# Thickness of a box's edges, in mm.
EDGE_MM = 0.5


def bodies_layer(case: Case) -> LayerTuple:
    """Give the layer of bodies of a newly opened case: empty, and not seen."""
    look = {
        **geometry(case),
        "name": Part.BODIES.value,
        "metadata": metadata(case, Part.BODIES),
        "colormap": bodies_colours(),
        "contrast_limits": (0, 2 * len(MARKS)),
        # Its own parts hide each other; the scan, which is without depth, hides none.
        "blending": "translucent",
        "shading": "none",
        "visible": False,
    }
    return _placed(NOTHING, case), look, "surface"


def show_bodies(layer: Surface, case: Case) -> None:
    """Make the layer show the lesions of a case; of nothing there is nothing to see."""
    at_hand = None if case.current is None else case.current.key
    mesh = bodies(case.rows, slice_positions(case.volume), case.volume.spacing, at_hand)
    layer.data = _placed(mesh, case)


def bodies(
    rows: Sequence[Row], position: Mapping[int, int], spacing: tuple[float, float, float], at_hand: str | None = None
) -> Mesh:
    """Give the surface of all lesions' bodies, about their boxes or through a detector's points, and of the boxes.

    Parameters
    ----------
    rows
        The lesions; each has a box on every slice that it was traced through, or points on its surface.
    position
        Index of each slice that is on disk by its native number.
    spacing
        Millimetres between voxels along (z, y, x), for the light.
    at_hand
        The key of the lesion that is brighter than the others.

    Returns
    -------
    vertices
        (n, 3) in voxels (z, y, x).
    faces
        (m, 3) indices of vertices; they look outwards.
    values
        (n,) place of the lesion's mark in `MARKS`, of the one at hand beyond all of these, and in [0, 1) how brightly
        light falls there.
    """
    parts, faces, values, count = [], [], [], 0
    for row in rows:
        boxes = {position[native]: box for native, box in row.boxes.items() if native in position}
        if not boxes:
            continue
        place = MARKS.index(row.mark) + (len(MARKS) if row.key == at_hand else 0)
        for vertices, triangles in (_hull(row, position) or _body(boxes), _frame(boxes, spacing)):
            parts.append(vertices)
            faces.append(triangles + count)
            values.append(np.full(len(vertices), place, np.float32))
            count += len(vertices)
    if not parts:
        return NOTHING
    whole, triangles = np.concatenate(parts), np.concatenate(faces)
    return whole, triangles, np.concatenate(values) + _light(whole, triangles, spacing)


def _light(vertices: np.ndarray, faces: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """How brightly light falls on each vertex, (n,) in [0, 1)."""
    first, second, third = (vertices[faces[:, corner]] * np.asarray(spacing, np.float32) for corner in range(3))
    across = np.cross(second - first, third - first)
    # A vertex looks where its faces look, the larger ones more.
    sums = [np.bincount(faces.ravel(), np.repeat(along, 3), minlength=len(vertices)) for along in across.T]
    normals = np.column_stack(sums)
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    return (0.5 + 0.49 * normals @ (LIGHT / np.linalg.norm(LIGHT)) / length).astype(np.float32)


def bodies_colours() -> Colormap:
    """Give the colours of `bodies`' values: from the dark to the bright of every mark, and again of the one at hand."""
    plain = np.array([ColorValue(COLOURS[mark])[:3] for mark in MARKS], float)
    ends = np.stack([plain * SHADE, plain * BRIGHT], axis=1)
    at_hand = np.stack([plain * SHADE_AT_HAND, plain * BRIGHT_AT_HAND], axis=1)
    colours = np.concatenate([ends, at_hand + (1 - at_hand) * WHITER]).reshape(-1, 3)
    places = np.arange(len(colours) // 2)[:, None] + np.array([1e-3, 1 - 1e-3])
    controls = places.ravel() / len(places)
    controls[[0, -1]] = 0, 1
    return Colormap(np.column_stack([colours, np.ones(len(colours))]), name="marks", controls=controls)


def _frame(boxes: Mapping[int, Box], spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The edges of the box about all boxes, as bars of `EDGE_MM`."""
    corners = np.array([*boxes.values()], float)
    low = np.array([min(boxes) - 0.5, *corners[:, 1::-1].min(axis=0)])
    high = np.array([max(boxes) + 0.5, *corners[:, :1:-1].max(axis=0)])
    half = EDGE_MM / 2 / np.array(spacing)
    # Of a bar along each axis: which end of the box each of its corners lies at, and on which side of the edge.
    ends = BARS * (high - low) + low
    return (ends + SIDES * half).reshape(-1, 3).astype(np.float32), BAR_FACES


def _hull(row: Row, position: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The hull of the points that a detector put on a lesion's surface; None where it gave none that has a volume."""
    placed = surface_points(row, position).get(PointsPart.REFINED)
    if placed is None:
        return None
    try:
        hull = ConvexHull(placed)
    except QhullError:
        return None
    place = np.empty(len(placed), int)
    place[hull.vertices] = np.arange(len(hull.vertices))
    return placed[hull.vertices].astype(np.float32), place[_outwards(placed, hull)]


def _outwards(points: np.ndarray, hull: ConvexHull) -> np.ndarray:
    """The triangles (m, 3) of a hull, which look either way; their planes say which way is out."""
    first, second, third = (points[hull.simplices[:, corner]] for corner in range(3))
    inwards = (np.cross(second - first, third - first) * hull.equations[:, :3]).sum(axis=1) < 0
    return np.where(inwards[:, None], hull.simplices[:, ::-1], hull.simplices)


def _body(boxes: Mapping[int, Box]) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses in the boxes of neighbouring slices, joined, with a flat end half a slice beyond the first and last."""
    slices = sorted(boxes)
    heights = np.array([slices[0] - 0.5, *slices[1:-1], slices[-1] + 0.5])
    used = np.array([boxes[z] for z in (slices[0], *slices[1:-1], slices[-1])])
    angle = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)
    centres, radii = (used[:, :2] + used[:, 2:]) / 2, (used[:, 2:] - used[:, :2]) / 2
    rings = np.empty((len(used), ROUND, 3), np.float32)
    rings[..., 0] = heights[:, None]
    rings[..., 1] = centres[:, 1:] + radii[:, 1:] * np.sin(angle)
    rings[..., 2] = centres[:, :1] + radii[:, :1] * np.cos(angle)
    return rings.reshape(-1, 3), _triangles(len(used))


def _triangles(rings: int) -> np.ndarray:
    """Faces of a closed tube of rings."""
    here = np.arange(ROUND)
    following = (here + 1) % ROUND
    wall = np.concatenate(
        [np.stack([here, here + ROUND, following], 1), np.stack([following, here + ROUND, following + ROUND], 1)]
    )
    walls = (wall[None] + ROUND * np.arange(rings - 1)[:, None, None]).reshape(-1, 3)
    fan = np.stack([np.zeros(ROUND - 2, int), np.arange(1, ROUND - 1), np.arange(2, ROUND)], 1)
    return np.concatenate([fan, walls, fan[:, ::-1] + ROUND * (rings - 1)])


def _placed(mesh: Mesh, case: Case) -> Mesh:
    """Nothing lies in the middle of the scan, where it takes no room of its own."""
    vertices, faces, values = mesh
    return (vertices + (np.array(case.volume.shape) - 1) / 2, faces, values) if mesh is NOTHING else mesh


def _bars() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The twelve edges of a box as bars.

    Returns
    -------
    ends, sides
        (12, 8, 3) for each corner of each bar the end of the box that it lies at (0 or 1) and the side of the edge
        (-1 or 1), along (z, y, x).
    faces
        (144, 3) of all of them.
    """
    unit = np.array(list(product((0, 1), repeat=3)))
    ends = np.array(
        [
            [np.insert(place, along, corner[along]) for corner in unit]
            for along in range(3)
            for place in product((0, 1), repeat=2)
        ]
    )
    sides = np.broadcast_to(2 * unit - 1, ends.shape)
    hull = ConvexHull(unit)
    faces = _outwards(unit.astype(float), hull)
    return ends, sides, np.concatenate([faces + 8 * bar for bar in range(len(ends))])


BARS, SIDES, BAR_FACES = _bars()
