"""A volumetric network over a whole scan: tiles along z, their boxes brought back and suppressed in 3D."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from napari_uld.ct.phases import phases_as
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.device import mixed_precision
from napari_uld.inference.slabs import Box, body_crop, normalize, sample
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

    @property
    def depth(self) -> int:
        """Slices."""
        return self.hu.shape[-3]

    def at_least(self, depth: int) -> "Crop":
        """The same with air behind its last slice where it has fewer than `depth`."""
        missing = max(depth - self.depth, 0)
        widths = [(0, 0)] * (self.hu.ndim - 3) + [(0, missing), (0, 0), (0, 0)]
        hu = np.pad(self.hu, widths, constant_values=AIR_HU)
        return Crop(hu, self.axes, self.thickness)

    def along_z(self, first: int, count: int) -> "Crop":
        """The `count` slices from `first` on."""
        *offset, z = self.axes.offset
        moved = AxisMap((*offset, z + first / self.axes.scale[2]), self.axes.scale)
        return Crop(self.hu[..., first : first + count, :, :], moved, self.thickness)


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
    phases = phases_as(volume, spec.phases)
    crop = body_crop(phases[0].hu, volume.spacing, spec)
    first, *further = (resample(each.hu, volume.spacing, spec, crop) for each in phases)
    return replace(first, hu=np.stack([first.hu, *(each.hu for each in further)])) if further else first


def resample(hu: np.ndarray, spacing: tuple[float, float, float], spec: InputSpec, crop: Box | None = None) -> Crop:
    """Bring a whole scan (z, y, x), cropped to the body if not to `crop`, to a network's spacing."""
    per_slice = spacing[0] / spec.step_mm(spacing[0])
    # Rounding must not cost the last slice.
    count = int(np.floor((len(hu) - 1) * per_slice + 1e-6)) + 1
    positions = np.minimum(np.arange(count) / per_slice, len(hu) - 1)
    crop = crop or body_crop(hu, spacing, spec)
    slices, (across, down) = sample(hu, spacing, positions, crop, pixel_mm=spec.spacing_mm)
    # The first slice's centre stays where it is; its edges move with the slices' thickness.
    axes = AxisMap((crop[2], crop[0], 0.5 - 0.5 / per_slice), (across, down, per_slice))
    return Crop(slices, axes, spacing[0])


def run_volume(volume: CTVolume, detector: LoadedDetector) -> Work[VolumeDetections]:
    """Detect in a whole scan, in its phases where the network sees several.

    Tiles as deep as the network's crops overlap by half; of each the middle counts, so that no lesion is judged by
    what its tile cuts off. Yields progress after every tile; closing the generator cancels.

    Raises
    ------
    PhaseError
        If the network sees phases that do not come with the scan.
    """
    yield Progress(0, 1, f"Resampling {volume.name}")
    depth, half = detector.inputs.slices, max(detector.inputs.slices // 2, 1)
    whole = seen(volume, detector.inputs).at_least(depth)
    last = max(whole.depth - depth, 0)
    starts = [*range(0, last, half), last]
    parts = []
    for number, start in enumerate(starts):
        yield Progress(number, len(starts), f"Detecting lesions on {volume.name}")
        detections = run_crop(whole.along_z(start, depth), detector)
        centres = whole.axes.to_network(detections.boxes)[:, [2, 5]].mean(axis=1) - start
        low = 0 if number == 0 else (starts[number - 1] + depth - start) / 2
        high = depth if number == len(starts) - 1 else (depth + starts[number + 1] - start) / 2
        parts.append(detections.take(np.flatnonzero((centres >= low) & (centres < high))))
    yield Progress(len(starts), len(starts), f"Detected lesions on {volume.name}")
    return suppress(_joined(parts))


def run_crop(crop: Crop, detector: LoadedDetector) -> VolumeDetections:
    """Detect in one crop."""
    hu = crop.hu.reshape(-1, *crop.hu.shape[-3:])
    image = torch.from_numpy(normalize(hu, detector.inputs)).to(detector.device)
    thickness = torch.tensor([crop.thickness], dtype=torch.float32, device=detector.device)
    with torch.inference_mode(), mixed_precision(detector.device, enabled=detector.mixed):
        (output,) = detector.model([image], thickness=thickness)
    values = {name: value.double().cpu().numpy()[_lesions(output)] for name, value in output.items()}
    points, first = (crop.axes.to_native(values[k]) if k in values else None for k in ("points", "first_points"))
    return VolumeDetections(crop.axes.to_native(values["boxes"]), values["scores"], points, first)


def _lesions(output: dict[str, Tensor]) -> np.ndarray:
    return np.flatnonzero(output["labels"].cpu().numpy() == LESION_LABEL)


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
