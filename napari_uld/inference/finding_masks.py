"""What a detector's masks say of its findings: for those that somebody will look at, not for all that it considers."""

from dataclasses import replace

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.parts import SEGMENTATION
from napari_uld.detectors.specs.system import system_of
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.candidates import SlabDetections, candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.inside import slice_maps
from napari_uld.inference.paste import paste_map
from napari_uld.inference.slabs import Slab, extract_slab
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import Rle, encode
from napari_uld.masks import INSIDE
from napari_uld.progress import Progress, Work

# A slice that is looked at again gives the same boxes, but for the last bits on a GPU.
SAME_BOX = 0.9


def with_masks(findings: Findings, volume: CTVolume, detector: LoadedDetector) -> Work[Findings]:
    """Give findings of a scan their masks on their key slices, where the detector learned masks.

    The key slices are looked at once more, this time for masks: of all that a scan is searched for few are findings.
    """
    learns_masks = system_of(detector.info.recipe).supervision.mask_kind is not None
    if detector.inputs.volume or not learns_masks:
        return findings
    masks = list(findings.masks)
    model = detector.model
    before, model.predicts_maps = model.predicts_maps, True
    there = set(volume.slice_numbers.tolist())
    natives = [native for native in np.unique(findings.key_slices).tolist() if native in there]
    try:
        for number, native in enumerate(natives):
            yield Progress(number, len(natives), f"Masks on slice {number + 1} of {len(natives)}")
            slab = extract_slab(volume.hu, volume.spacing, volume.z_of(native), detector.inputs)
            (detections,) = candidates([slab], detector)
            rows = np.flatnonzero(findings.key_slices == native)
            for row, which in _same(findings.boxes[rows], detections.boxes).items():
                masks[rows[row]] = _mask(detections, which, slab, volume.shape[1:])
    finally:
        model.predicts_maps = before
    return replace(findings, masks=tuple(masks))


def _same(boxes: np.ndarray, others: np.ndarray) -> dict[int, int]:
    """For each box, by its place, the other one that is the same."""
    if not len(others):
        return {}
    overlaps = iou(boxes, others)
    return {row: int(best) for row, best in enumerate(overlaps.argmax(axis=1)) if overlaps[row, best] >= SAME_BOX}


def _mask(detections: SlabDetections, row: int, slab: Slab, shape: tuple[int, int]) -> Rle | None:
    """What of a slice lies in a detection's box and in its mask; None where that is nothing."""
    box = detections.boxes[row]
    if detections.maps is not None:
        inside = paste_map(detections.maps[row], box, shape) >= INSIDE
    else:
        whole = slice_maps(detections, slab, shape)[SEGMENTATION]
        inside = (whole >= INSIDE) & (paste_map(np.ones((1, 1)), box, shape) > 0)
    return encode(inside) if inside.any() else None
