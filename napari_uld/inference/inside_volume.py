"""Look inside a volumetric detector about one slice: where it takes the centres of lesions to lie, and its boxes."""

import numpy as np
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.batch import pad_images
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import lowest_score
from napari_uld.inference.inside_result import HeatMap, Inside
from napari_uld.inference.sliding import next_tile, plan
from napari_uld.inference.volumes import Crop, Resampling, VolumeDetections, run_crop, suppress
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.progress import Progress, Work


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
    TileMemoryError
        If the memory is too small for the shallowest tile.
    """
    yield Progress(0, 2, f"Resampling {volume.name}")
    scan, depth = Resampling.of(volume, detector.inputs), detector.inputs.slices
    slices = max(len(scan.positions), depth)
    tiling = plan(detector, slices, scan.size)
    ((_, _, middle),) = scan.axes.to_network(np.array([[0.0, 0, z]]))
    first = int(np.clip(np.floor(middle) - depth // 2, 0, slices - depth))
    tile = next_tile(first, min(depth + 2 * tiling.halo, tiling.depth), tiling.halo, slices)
    yield Progress(1, 2, f"Looking at {tile.high - tile.low} slices about {volume.native_slice(z)}")
    crop = scan.slices(tile.first, tile.count)
    logits, detections, told_from = _run(crop, detector)
    counted = range(tile.low - tile.first, tile.high - tile.first)
    heat = _heat_map(logits, crop, detector.model.size_divisible, counted, len(volume.hu))
    sure = detections.scores >= lowest_score(detector.info.operating_point)
    here = (told_from >= counted.start) & (told_from < counted.stop)
    detections = suppress(detections.take(np.flatnonzero(here & sure)))
    yield Progress(2, 2, f"Looked at {tile.high - tile.low} slices about {volume.native_slice(z)}")
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


def _run(crop: Crop, detector: LoadedDetector) -> tuple[Tensor, VolumeDetections, np.ndarray]:
    """Detect in a crop; give the logits (d, h, w) of its heat map of centres as well, and what `run_crop` gives."""
    logits: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: tuple[list[Tensor], ...]) -> None:
        logits.append(output[0][0][0, 0].float().cpu())

    hook = detector.model.dense_head.register_forward_hook(keep)
    try:
        detections, told_from = run_crop(crop, detector)
    finally:
        hook.remove()
    return logits[0], detections, told_from


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
