"""A volumetric network over a whole scan: tiles along z, their boxes brought back and suppressed in 3D."""

from dataclasses import dataclass

import numpy as np
import torch

from napari_uld.ct.phases import phases_as
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.parts import PEAKS
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.device import mixed_precision
from napari_uld.inference.slabs import Box, body_crop, normalize, sample, sampled_size
from napari_uld.inference.sliding import Tile, Tiling, plan, slide
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.lesions.findings import LESION_LABEL
from napari_uld.progress import Progress, Work

# Of boxes that overlap by more than this 3D IoU the surest stays.
NMS_IOU = 0.3
# What lies beyond a scan.
AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a scan at a network's spacing.

    Parameters
    ----------
    hu
        (D, H, W) float32, or (phases, D, H, W).
    axes
        Where it lies in the scan, along (x, y, z).
    thickness
        Millimetres between the scan's own slices.
    """

    hu: np.ndarray
    axes: AxisMap
    thickness: float


@dataclass(frozen=True, eq=False)
class Resampling:
    """What a network sees of a scan, cropped to the body: slices are interpolated when they are asked for.

    So a long scan takes no more memory than it has: its own int16, and float32 of the slices at hand.

    Parameters
    ----------
    phases
        (z, y, x) int16 each: the scan, or the phases that the network sees together.
    spacing
        Their own millimetres along (z, y, x).
    inside
        Rows and columns about the body.
    positions
        Where the network's slices lie, as indices of the scan's.
    pixel_mm
        The network's.
    axes
        Where the network's first slice lies in the scan.
    """

    phases: tuple[np.ndarray, ...]
    spacing: tuple[float, float, float]
    inside: Box
    positions: np.ndarray
    pixel_mm: float
    axes: AxisMap

    @classmethod
    def of(cls, volume: CTVolume, spec: InputSpec) -> "Resampling":
        """Bring a scan, or its phases, to a network's spacing, cropped to the first one's body.

        Raises
        ------
        PhaseError
            If the network sees phases that do not come with the scan.
        """
        phases = tuple(each.hu for each in phases_as(volume, spec.phases))
        spacing = volume.spacing
        per_slice = spacing[0] / spec.step_mm(spacing[0])
        # Rounding must not cost the last slice.
        count = int(np.floor((len(volume.hu) - 1) * per_slice + 1e-6)) + 1
        positions = np.minimum(np.arange(count) / per_slice, len(volume.hu) - 1)
        inside = body_crop(phases[0], spacing, spec)
        top, bottom, left, right = inside
        width, height = sampled_size(spacing, inside, spec.spacing_mm)
        # The first slice's centre stays where it is; its edges move with the slices' thickness.
        axes = AxisMap((left, top, 0.5 - 0.5 / per_slice), (width / (right - left), height / (bottom - top), per_slice))
        return cls(phases, spacing, inside, positions, spec.spacing_mm, axes)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's slices."""
        width, height = sampled_size(self.spacing, self.inside, self.pixel_mm)
        return height, width

    def slices(self, first: int, count: int) -> Crop:
        """The network's `count` slices from `first` on, air behind the scan's last."""
        positions = self.positions[first : first + count]
        hu = np.full((len(self.phases), count, *self.size), AIR_HU, np.float32)
        if len(positions):
            for seen_in, phase in zip(hu, self.phases, strict=True):
                seen_in[: len(positions)], _ = sample(
                    phase, self.spacing, positions, self.inside, pixel_mm=self.pixel_mm
                )
        *offset, z = self.axes.offset
        axes = AxisMap((*offset, z + first / self.axes.scale[2]), self.axes.scale)
        return Crop(hu if len(self.phases) > 1 else hu[0], axes, self.spacing[0])


@dataclass(frozen=True, eq=False)
class VolumeDetections:
    """What a volumetric detector finds in a scan, or in a tile of one.

    Parameters
    ----------
    boxes
        (n, 6) native pixel-centre boxes (x1, y1, z1, x2, y2, z2), z an index of the scan's slices; best first.
    scores
        (n,) each.
    points
        (n, k, 3) surface points (x, y, z) like the boxes, None where the method has none.
    first_points
        (n, k, 3) where these lay before they were refined, None where the method has none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray | None
    first_points: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "VolumeDetections":
        """The detections of `rows`, in that order."""
        points, first = (None if each is None else each[rows] for each in (self.points, self.first_points))
        return VolumeDetections(self.boxes[rows], self.scores[rows], points, first)


def seen(volume: CTVolume, spec: InputSpec) -> Crop:
    """Bring what a network sees of a scan to its spacing: the scan, or its phases, cropped to the first one's body.

    Raises
    ------
    PhaseError
        If the network sees phases that do not come with the scan.
    """
    resampling = Resampling.of(volume, spec)
    return resampling.slices(0, len(resampling.positions))


def run_volume(volume: CTVolume, detector: LoadedDetector, tiling: Tiling | None = None) -> Work[VolumeDetections]:
    """Detect in a whole scan, tile by tile, in its phases where the network sees several.

    Of each tile what is found in the slices that count is kept.

    Yields progress with the time left after every tile; closing the generator cancels.

    Parameters
    ----------
    tiling
        How the scan is cut; None for `plan`.

    Raises
    ------
    PhaseError
        If the network sees phases that do not come with the scan.
    TileMemoryError
        If the memory is too small for the shallowest tile.
    """
    yield Progress(0, 1, f"Resampling {volume.name}")
    scan = Resampling.of(volume, detector.inputs)
    slices = max(len(scan.positions), detector.inputs.slices)
    if tiling is None:
        tiling = plan(detector, slices, scan.size)

    def look(tile: Tile) -> VolumeDetections:
        found, z = run_crop(scan.slices(tile.first, tile.count), detector)
        return found.take(np.flatnonzero((z + tile.first >= tile.low) & (z + tile.first < tile.high)))

    parts = yield from slide(slices, tiling, look, f"Detecting lesions on {volume.name}")
    found = _joined(parts)
    # A tile's boxes may reach beyond it, the scan's end with the scan.
    found.boxes[:, [2, 5]] = found.boxes[:, [2, 5]].clip(-0.5, len(volume.hu) - 0.5)
    # As many as the network gives of one volume: how many tiles there were depends on the memory.
    most = detector.info.recipe.get("detector", {}).get("detections")
    return suppress(found.take(np.argsort(-found.scores, kind="stable")[:most]))


def run_crop(crop: Crop, detector: LoadedDetector) -> tuple[VolumeDetections, np.ndarray]:
    """Detect in one crop.

    Returns
    -------
    detections, z
        (n,) the crop's slice that each was told from, its centre at .5; where a network does not say, its box's middle.
    """
    hu = crop.hu.reshape(-1, *crop.hu.shape[-3:])
    image = torch.from_numpy(normalize(hu, detector.inputs)).to(detector.device)
    thickness = torch.tensor([crop.thickness], dtype=torch.float32, device=detector.device)
    with torch.inference_mode(), mixed_precision(detector.device, enabled=detector.mixed):
        (output,) = detector.model([image], thickness=thickness)
    values = {name: value.cpu().double().numpy() for name, value in output.items()}
    lesions = values["labels"] == LESION_LABEL
    values = {name: value[lesions] for name, value in values.items()}
    boxes = values["boxes"]
    z = values[PEAKS][:, 2] if PEAKS in values else ((boxes[:, 2] + boxes[:, 5]) / 2).clip(0, hu.shape[1] - 0.5)
    points, first = (crop.axes.to_native(values[k]) if k in values else None for k in ("points", "first_points"))
    return VolumeDetections(crop.axes.to_native(boxes), values["scores"], points, first), z


def suppress(detections: VolumeDetections) -> VolumeDetections:
    """Best first, of boxes that overlap by more than `NMS_IOU` the surest alone."""
    detections = detections.take(np.argsort(-detections.scores, kind="stable"))
    overlap = iou(detections.boxes, detections.boxes) > NMS_IOU
    kept: list[int] = []
    for row in range(len(detections.boxes)):
        if not overlap[row, kept].any():
            kept.append(row)
    return detections.take(np.asarray(kept, int))


def _joined(parts: list[VolumeDetections]) -> VolumeDetections:
    points = [part.points for part in parts if part.points is not None]
    first = [part.first_points for part in parts if part.first_points is not None]
    return VolumeDetections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate(points) if points else None,
        np.concatenate(first) if first else None,
    )
