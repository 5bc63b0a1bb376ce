"""A true lesion and what several systems find of it, in 3D and on three slices, as in VLD's paper (figs. 3 to 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from skimage.measure import marching_cubes

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import WINDOWS, to_uint8
from napari_uld.errors import DataError
from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.findings import DEFAULT_THRESHOLD, Findings, in_voxels
from napari_uld.lesions.findings_file import SUFFIX, read_findings
from napari_uld.lesions.rle import decode
from napari_uld.progress import Progress, Work

from ..data.key_slices import SOFT_TISSUE
from ..data.phantom.truth import TrueLesion, read_truth
from ..subjects import is_saved

TRUE, BOX, POINT = "#2FD05F", "#4A8CFF", "#FF3B28"
# About the lesion that is shown, in mm.
MARGIN_MM = 15.0
# Where the three slices lie in the lesion, and how far from one of them a point is still drawn on it, in mm.
CUTS = (0.25, 0.5, 0.75)
NEAR_MM = 2.5
# Of a panel, in inches.
PANEL = 3.2


@dataclass(frozen=True, eq=False)
class Scene:
    """A part of a scan and what is true there.

    Parameters
    ----------
    volume
        The whole scan.
    lesion
        The lesion that is shown.
    low, high
        First and last voxel of the part, (z, y, x).
    truth
        Bool, all lesions in the part.
    """

    volume: CTVolume
    lesion: TrueLesion
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray

    @property
    def position(self) -> dict[int, int]:
        """Index of each slice by its native number."""
        return {int(native): z for z, native in enumerate(self.volume.slice_numbers)}

    @property
    def cuts(self) -> list[int]:
        """Indices of the slices that are shown, from the lesion's lower end up."""
        own = sorted(self.position[native] for native in self.lesion.masks)
        return [own[round(share * (len(own) - 1))] for share in CUTS]


@dataclass(frozen=True, eq=False)
class Body:
    """A finding about the lesion.

    Parameters
    ----------
    box
        (x1, y1, z1, x2, y2, z2) in voxels.
    on_slices
        Its box (x1, y1, x2, y2) by the slice's index.
    points
        (n, 3) points (z, y, x) on its surface in voxels; n = 0 where the system gives none.
    score
        How sure the system is.
    """

    box: np.ndarray
    on_slices: dict[int, tuple[float, float, float, float]]
    points: np.ndarray
    score: float


def draw_bodies(
    subjects: Sequence[str], data: Path, series: str, out: Path, lesion: str | None, device: str
) -> Work[None]:
    """Draw a lesion of a phantom as several systems find it, each from its operating point on.

    Parameters
    ----------
    subjects
        Checkpoints (paths or bundled names), or findings of this scan (a file or a folder of them).
    data, series
        Folder of phantoms, and which of them.
    out
        The picture's file.
    lesion
        Its id in the phantom's truth; None for the largest.

    Raises
    ------
    UldError
        If the phantom or a subject cannot be read, the phantom has no such lesion, or findings are of another scan.
    """
    scene = open_scene(data, series, lesion)
    found = {}
    for number, subject in enumerate(subjects):
        yield Progress(number, len(subjects), f"Reading {subject}")
        findings = yield from _findings(subject, scene.volume, device)
        name = findings.method if findings.method not in found else f"{findings.method} ({number + 1})"
        found[name] = bodies_in(findings, scene)
    yield Progress(len(subjects), len(subjects), "Drawing")
    # Without the library's version in it, the same findings give the same file.
    draw(scene, found).savefig(out, format="png", dpi=110, metadata={"Software": None})


def open_scene(data: Path, series: str, lesion: str | None) -> Scene:
    """Read a phantom and choose one of its lesions, the largest where none is named.

    Raises
    ------
    DataError
        If it cannot be read, or has no such lesion.
    """
    lesions = {each.id: each for each in read_truth(data, series)}
    volume = read_slices(data, series, slices_on_disk(data, series))
    if lesion is not None and lesion not in lesions:
        raise DataError(f"{series} has no lesion {lesion}; it has {', '.join(lesions) or 'none'}")
    if not lesions:
        raise DataError(f"{series} has no lesion to draw: choose another series")
    shown = lesions[lesion] if lesion is not None else max(lesions.values(), key=_size)
    masks = {volume.z_of(native): decode(mask) for native, mask in shown.masks.items()}
    anywhere = np.argwhere(np.any(list(masks.values()), axis=0))
    margin = np.ceil(MARGIN_MM / np.array(volume.spacing)).astype(int)
    low = np.maximum([min(masks), *anywhere.min(axis=0)] - margin, 0)
    high = np.minimum([max(masks), *anywhere.max(axis=0)] + margin, np.array(volume.shape) - 1)
    truth = np.zeros(volume.shape, bool)
    for each in lesions.values():
        for native, mask in each.masks.items():
            truth[volume.z_of(native)] |= decode(mask)
    part = tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))
    return Scene(volume, shown, low, high, truth[part])


def bodies_in(findings: Findings, scene: Scene) -> list[Body]:
    """Give the findings from their detector's operating point on that reach into a scene, best first."""
    point = DEFAULT_THRESHOLD if findings.operating_point is None else findings.operating_point
    shown, position, bodies = findings.above(point), scene.position, []
    for row in np.flatnonzero(~shown.negative):
        on_slices = {position[native]: box for native, box in shown.slice_boxes[row].items() if native in position}
        points = shown.points[row]
        corners = np.array([*on_slices.values()], float).reshape(-1, 4)
        if not len(corners):
            continue
        z = np.array([min(on_slices) - 0.5, max(on_slices) + 0.5])
        if shown.depths is not None:
            ends = np.column_stack([np.zeros((2, 2)), shown.depths[row]])
            z = np.sort(in_voxels(ends, position)[:, 0])
        low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        box = np.array([*low, z[0], *high, z[1]])
        if (box[3:] >= scene.low[::-1]).all() and (box[:3] <= scene.high[::-1]).all():
            cloud = np.zeros((0, 3)) if points is None else in_voxels(points, position)
            bodies.append(Body(box, on_slices, cloud, float(shown.scores[row])))
    return bodies


def draw(scene: Scene, found: dict[str, list[Body]]) -> Figure:
    """Draw a column for each system, in 3D and then on the slices from the head to the feet."""
    figure = Figure(figsize=(PANEL * len(found), PANEL * (1 + len(CUTS)) + 0.8), layout="constrained")
    volume, lesion = scene.volume, scene.lesion
    kind = lesion.lesion_type.name.lower().replace("_", " ")
    figure.suptitle(f"{volume.name}, {lesion.id}, {kind}\ngreen: true, blue: boxes, red: points on the surface")
    window = {LesionType.LUNG: WINDOWS["lung"], LesionType.BONE: WINDOWS["bone"]}.get(lesion.lesion_type, SOFT_TISSUE)
    rows = 1 + len(CUTS)
    for column, (name, bodies) in enumerate(found.items(), 1):
        solid = figure.add_subplot(rows, len(found), column, projection="3d")
        solid.set_title(f"{name}: {', '.join(f'{each.score:.2f}' for each in bodies) or 'nothing'}", fontsize="medium")
        _draw_solid(solid, scene, bodies)
        for row, z in enumerate(reversed(scene.cuts), 1):
            axes = figure.add_subplot(rows, len(found), row * len(found) + column)
            draw_slice(axes, scene, bodies, z, window)
    return figure


def draw_slice(axes: Axes, scene: Scene, bodies: Sequence[Body], z: int, window: tuple[float, float]) -> None:
    """Draw a slice of a scene, what is true on it and what was found."""
    (bottom, top, left), (_, lower, right) = scene.low, scene.high
    _, dy, dx = scene.volume.spacing
    image = to_uint8(scene.volume.hu[z, top : lower + 1, left : right + 1], window)
    extent = (left - 0.5, right + 0.5, lower + 0.5, top - 0.5)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear", aspect=dy / dx)
    mask = scene.truth[z - bottom]
    if mask.any():
        rows, columns = np.arange(top, lower + 1), np.arange(left, right + 1)
        axes.contour(columns, rows, mask, levels=[0.5], colors=[TRUE], linewidths=1.6)
    for body in bodies:
        if z in body.on_slices:
            x1, y1, x2, y2 = body.on_slices[z]
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=BOX, linewidth=1.6))
        near = np.abs(body.points[:, 0] - z) * scene.volume.spacing[0] <= NEAR_MM
        axes.scatter(body.points[near, 2], body.points[near, 1], s=18, color=POINT, zorder=3)
    axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
    axes.set_xlabel(f"slice {scene.volume.native_slice(z)}", fontsize="small")


def _draw_solid(axes: Axes3D, scene: Scene, bodies: Sequence[Body]) -> None:
    """The true surfaces, boxes as frames and points, seen from the patient's front and somewhat above; in mm."""
    spacing = np.array(scene.volume.spacing)
    # A margin closes the surface of what the scene cuts off.
    vertices, faces, _, _ = marching_cubes(np.pad(scene.truth, 1).astype(np.float32), 0.5)
    z, y, x = ((vertices - 1 + scene.low) * spacing).T
    axes.plot_trisurf(x, y, z, triangles=faces, color=TRUE, alpha=0.35, linewidth=0)
    for body in bodies:
        axes.add_collection3d(Line3DCollection(_edges(body.box) * spacing[::-1], colors=BOX, linewidths=1.4))
        points = body.points * spacing
        axes.scatter(points[:, 2], points[:, 1], points[:, 0], s=16, color=POINT, depthshade=False)
    ends = np.stack([scene.low - 0.5, scene.high + 0.5], axis=1) * spacing[:, None]
    axes.set(xlim=ends[2], ylim=ends[1], zlim=ends[0], xticks=[], yticks=[], zticks=[])
    axes.set_box_aspect(np.ptp(ends, axis=1)[::-1], zoom=1.15)
    axes.view_init(elev=20, azim=-65)


def _edges(box: np.ndarray) -> np.ndarray:
    """The twelve edges (12, 2, 3) of a box (x1, y1, z1, x2, y2, z2)."""
    corners = np.array([[box[axis + 3 * end] for axis, end in enumerate(ends)] for ends in np.ndindex(2, 2, 2)])
    pairs = [(i, i + step) for step in (1, 2, 4) for i in range(8) if not i & step]
    return corners[np.array(pairs)]


def _findings(subject: str, volume: CTVolume, device: str) -> Work[Findings]:
    """What a system finds in a scan, or has found in it.

    Raises
    ------
    DataError
        If saved findings are of other scans.
    """
    if not is_saved(subject):
        return (yield from detect(volume, load_checkpoint(find_checkpoint(subject), device)))
    path = Path(subject)
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    named = {}
    for file in files:
        findings = read_findings(file)
        if volume.scan_id == findings.scan_id:
            return findings
        named[findings.scan_name] = file
    raise DataError(f"{subject} has nothing on {volume.name}, it is of {', '.join(named)}: detect on that series")


def _size(lesion: TrueLesion) -> int:
    """Voxels of a lesion."""
    return sum(sum(mask.counts[1::2]) for mask in lesion.masks.values())
