"""Look inside a volumetric detector about one slice: where it takes the centres of lesions to lie, and its boxes."""

import numpy as np
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.batch import pad_images
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import lowest_score
from napari_uld.inference.inside_result import HeatMap, Inside
from napari_uld.inference.volumes import Crop, VolumeDetections, run_crop, seen, suppress
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.progress import Progress, Work

# Slices at each end of what is run that do not count, as a share of a training crop's: they lack their neighbours.
BESIDE = 0.25


def look_inside_volume(volume: CTVolume, z: int, boxes: np.ndarray, detector: LoadedDetector) -> Work[Inside]:
    """Look inside a trained volumetric detector, on as many slices about one as it was trained on at a time.

    Parameters
    ----------
    volume, z
        The scan, and the index of the slice.
    boxes
        (n, 4) pixel-centre boxes of the slice's lesions.

    Raises
    ------
    PhaseError
        If the network sees phases that do not come with the scan.
    """
    yield Progress(0, 2, f"Resampling {volume.name}")
    depth = detector.inputs.slices
    whole = seen(volume, detector.inputs).at_least(depth)
    (network,) = whole.axes.to_network(np.array([[0.0, 0, z]]))
    first = int(np.clip(np.floor(network[2]) - depth // 2, 0, whole.depth - depth))
    beside = int(BESIDE * depth)
    low, high = max(first - beside, 0), min(first + depth + beside, whole.depth)
    crop = whole.along_z(low, high - low)
    yield Progress(1, 2, f"Looking at {depth} slices about {volume.native_slice(z)}")
    logits, detections = _run(crop, detector)
    counted = range(first - low, first - low + depth)
    heat = _heat_map(logits, crop, detector.model.size_divisible, counted, len(volume.hu))
    middles = crop.axes.to_network(detections.boxes)[:, [2, 5]].mean(axis=1) - counted.start
    sure = detections.scores >= lowest_score(detector.info.operating_point)
    detections = suppress(detections.take(np.flatnonzero((middles >= 0) & (middles < depth) & sure)))
    yield Progress(2, 2, f"Looked at {depth} slices about {volume.native_slice(z)}")
    return Inside(
        z=z,
        lesions=boxes,
        anchors={},
        cells=heat.values.size,
        per_cell=1,
        objectness=None,
        branch=None,
        attention={},
        boxes=detections.boxes,
        scores=detections.scores,
        detector=detector.info.detector,
        operating_point=detector.info.operating_point,
        centres=heat,
    )


def _run(crop: Crop, detector: LoadedDetector) -> tuple[Tensor, VolumeDetections]:
    """Detect in a crop; give the logits (d, h, w) of its heat map of centres as well."""
    logits: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: tuple[list[Tensor], ...]) -> None:
        logits.append(output[0][0][0, 0].float().cpu())

    hook = detector.model.dense_head.register_forward_hook(keep)
    try:
        detections = run_crop(crop, detector)
    finally:
        hook.remove()
    return logits[0], detections


def _heat_map(logits: Tensor, crop: Crop, divisible: int, counted: range, slices: int) -> HeatMap:
    """The heat map of some of a crop's slices, without the cells of what the crop was padded by.

    Parameters
    ----------
    logits
        (d, h, w) of the crop, padded to a multiple of `divisible`.
    counted
        Which of the crop's slices.
    slices
        How many the scan has.
    """
    padded = pad_images([torch.empty(1, *crop.hu.shape[-3:], device="meta")], divisible).tensors.shape[2:]
    cell = [full // cells for full, cells in zip(padded, logits.shape, strict=True)]
    ends = [-(-size // side) for size, side in zip(crop.hu.shape[-3:], cell, strict=True)]
    begin, end = counted.start // cell[0], min(-(-counted.stop // cell[0]), ends[0])
    values = logits[begin:end, : ends[1], : ends[2]].sigmoid().numpy()
    *offset, z = crop.axes.offset
    scale = [along / side for along, side in zip(crop.axes.scale, reversed(cell), strict=True)]
    axes = AxisMap((*offset, z + begin / scale[2]), tuple(scale))
    low, high = axes.to_native(np.array([[0.0, 0, 0], [0, 0, len(values)]]))[:, 2]
    return HeatMap(values, axes, range(max(int(np.ceil(low)), 0), min(int(np.floor(high)) + 1, slices)))
