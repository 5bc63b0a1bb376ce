"""Lesions as bodies in 3D: one surface of all of them, each in the colour of how it stands."""

from collections.abc import Mapping, Sequence

import numpy as np
from napari.layers import Surface
from napari.utils.colormaps import Colormap

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
    """Give the surface of all lesions' bodies.

    Parameters
    ----------
    rows
        The lesions; each has a box on every slice that it was traced through.
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
        vertices, triangles = _body(boxes)
        parts.append(vertices)
        faces.append(triangles + count)
        values.append(np.full(len(vertices), MARKS.index(row.mark) + 0.5, np.float32))
        count += len(vertices)
    return (np.concatenate(parts), np.concatenate(faces), np.concatenate(values)) if parts else NOTHING


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
