"""Lesions as bodies in 3D: one surface of all of them, each in the colour of how it stands."""

from collections.abc import Mapping, Sequence

import numpy as np
from napari.layers import Surface
from napari.utils.colormaps import Colormap
from scipy.spatial import ConvexHull, QhullError

from napari_uld.lesions.findings import Box
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.layers.parts import LayerTuple, Part, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row, slice_positions

# Points of the ellipse that stands for a box.
ROUND = 16
MARKS = tuple(COLOURS)
Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]
# A surface of nothing cannot be made: one triangle without extent.
NOTHING: Mesh = (np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]), np.zeros(3, np.float32))


def bodies_layer(case: Case) -> LayerTuple:
    """Give the layer of bodies of a newly opened case: empty, and not seen."""
    look = {
        **geometry(case),
        "name": Part.BODIES.value,
        "metadata": metadata(case, Part.BODIES),
        "colormap": Colormap([COLOURS[mark] for mark in MARKS], name="marks", interpolation="zero"),
        "contrast_limits": (0, len(MARKS)),
        # Seen through the brightest voxels that lie before them.
        "blending": "translucent_no_depth",
        "opacity": 0.7,
        "visible": False,
    }
    return _placed(NOTHING, case), look, "surface"


def show_bodies(layer: Surface, case: Case) -> None:
    """Make the layer show the lesions of a case; of nothing there is nothing to see."""
    layer.data = _placed(bodies(case.rows, slice_positions(case.volume)), case)


def bodies(rows: Sequence[Row], position: Mapping[int, int]) -> Mesh:
    """Give the surface of all lesions' bodies: about their boxes, or through the points that a detector gave.

    Parameters
    ----------
    rows
        The lesions; each has a box on every slice that it was traced through, or points on its surface.
    position
        Index of each slice that is on disk by its native number.

    Returns
    -------
    vertices
        (n, 3) in voxels (z, y, x).
    faces
        (m, 3) indices of vertices.
    values
        (n,) place of the lesion's mark in `MARKS`, in the middle of its step.
    """
    parts, faces, values, count = [], [], [], 0
    for row in rows:
        boxes = {position[native]: box for native, box in row.boxes.items() if native in position}
        if not boxes:
            continue
        vertices, triangles = _hull(row, position) or _body(boxes)
        parts.append(vertices)
        faces.append(triangles + count)
        values.append(np.full(len(vertices), MARKS.index(row.mark) + 0.5, np.float32))
        count += len(vertices)
    return (np.concatenate(parts), np.concatenate(faces), np.concatenate(values)) if parts else NOTHING


def _hull(row: Row, position: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The hull of the points that a detector put on a lesion's surface; None where it gave none that has a volume."""
    points = None if row.annotation is not None or row.finding is None else row.finding.points
    if points is None:
        return None
    natives = sorted(position)
    z = np.interp(points[:, 2], natives, [position[native] for native in natives])
    placed = np.column_stack([z, points[:, 1], points[:, 0]])
    try:
        hull = ConvexHull(placed)
    except QhullError:
        return None
    place = np.empty(len(placed), int)
    place[hull.vertices] = np.arange(len(hull.vertices))
    # Its triangles look either way; their planes say which way is out.
    first, second, third = (placed[hull.simplices[:, corner]] for corner in range(3))
    inwards = (np.cross(second - first, third - first) * hull.equations[:, :3]).sum(axis=1) < 0
    triangles = np.where(inwards[:, None], hull.simplices[:, ::-1], hull.simplices)
    return placed[hull.vertices].astype(np.float32), place[triangles]


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
        [np.stack([here, following, here + ROUND], 1), np.stack([following, following + ROUND, here + ROUND], 1)]
    )
    walls = (wall[None] + ROUND * np.arange(rings - 1)[:, None, None]).reshape(-1, 3)
    fan = np.stack([np.zeros(ROUND - 2, int), np.arange(1, ROUND - 1), np.arange(2, ROUND)], 1)
    return np.concatenate([fan[:, ::-1], walls, fan + ROUND * (rings - 1)])


def _placed(mesh: Mesh, case: Case) -> Mesh:
    """Nothing lies in the middle of the scan, where it takes no room of its own."""
    vertices, faces, values = mesh
    return (vertices + (np.array(case.volume.shape) - 1) / 2, faces, values) if mesh is NOTHING else mesh
