"""Look inside a detector on one slice: which anchors teach it, what it takes for an object, what its branch draws.

This is figure 1 of the BMC paper (see `napari_uld.detectors.losses.supervision`) on any slice.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.build import Detector, anchor_lesson, bmc_regression, build_detector
from napari_uld.detectors.heads.anchors import Grid, make_grid
from napari_uld.detectors.losses.supervision import BM_POSITIVE_IOU, IouMatching, Target, cell_values, values_at_centres
from napari_uld.detectors.one_stage import ATTENTION, SEGMENTATION
from napari_uld.detectors.specs.system import SupervisionSpec, System, TwoStageSupervision, system_of
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import SlabDetections, lowest_score, run_slabs
from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.inference.paste import paste_map
from napari_uld.inference.slabs import Slab, extract_slab
from napari_uld.lesions.boxes import to_centres
from napari_uld.masks.bounding_map import bounding_map, lesion_maps


def look_inside(volume: CTVolume, z: int, boxes: np.ndarray, detector: LoadedDetector) -> Inside:
    """Look inside a trained detector.

    Parameters
    ----------
    volume, z
        The scan, and the index of the slice.
    boxes
        (n, 4) pixel-centre boxes of the slice's lesions.
    """
    slab = extract_slab(volume.hu, volume.spacing, z, detector.inputs)
    supervision = system_of(detector.info.recipe).supervision
    objectness, found = _run(slab, detector)
    shape = (volume.shape[1], volume.shape[2])
    kept = found.scores >= lowest_score(detector.info.operating_point)
    pasted = _slice_maps(found, slab, shape)
    branch = pasted.pop(SEGMENTATION, None)
    if found.maps is not None:
        branch = _branch_map(found.maps[kept], found.boxes[kept], shape)
    return replace(
        _anchors_alone(detector.model, slab, z, boxes, supervision),
        objectness=_objectness_map(objectness, slab, shape, detector.model.strides),
        branch=branch,
        attention={name.removeprefix(ATTENTION): values for name, values in pasted.items()},
        boxes=found.boxes[kept],
        scores=found.scores[kept],
        detector=detector.info.detector,
        operating_point=detector.info.operating_point,
    )


def look_inside_recipe(volume: CTVolume, z: int, boxes: np.ndarray, system: System) -> Inside:
    """Look at what a detector would learn from, before there are any weights; see `look_inside`."""
    # On this device parameters have shapes and no values: only strides and anchors are asked for.
    with torch.device("meta"):
        model = build_detector(system)
    slab = extract_slab(volume.hu, volume.spacing, z, system.input)
    return _anchors_alone(model, slab, z, boxes, system.supervision)


def _anchors_alone(model: Detector, slab: Slab, z: int, boxes: np.ndarray, supervision: SupervisionSpec) -> Inside:
    grid = anchor_grid(model, slab)
    return Inside(
        z=z,
        lesions=boxes,
        anchors=positive_anchors(grid, slab, boxes, supervision),
        cells=len(grid.anchors) // grid.per_cell,
        per_cell=grid.per_cell,
        objectness=None,
        branch=None,
        attention={},
        boxes=np.zeros((0, 4)),
        scores=np.zeros(0),
        detector="",
        operating_point=None,
    )


def anchor_grid(model: Detector, slab: Slab) -> Grid:
    """Give the anchors that a model has on a slab."""
    height, width = pad_images([torch.from_numpy(slab.hu)], model.size_divisible).tensors.shape[-2:]
    return make_grid(model.anchor_generator, model.strides, (height, width))


def positive_anchors(
    grid: Grid, slab: Slab, boxes: np.ndarray, supervision: SupervisionSpec
) -> dict[Rule, PositiveAnchors]:
    """Give the anchors that each rule makes positive, all of them: training draws from these.

    A rule that the supervision does not follow is shown as published, at the supervision's other values.

    Parameters
    ----------
    boxes
        (n, 4) native pixel-centre boxes of the lesions; what lies beyond the crop is cut off, as in training.
    """
    if not isinstance(supervision, TwoStageSupervision):
        cut, lesions = _cut(slab, boxes)
        matched = anchor_lesson(supervision).match(grid, {"boxes": torch.from_numpy(cut.astype(np.float32))})
        anchors = torch.nonzero(matched >= 0)[:, 0]
        return {Rule.IOU: _native(grid, slab, anchors, torch.ones(len(anchors)), lesions[matched[anchors]])}
    target, lesions = _target(slab, boxes, supervision, padded_size(grid))
    published, negative = TwoStageSupervision().rpn_iou
    own = supervision.rpn_iou[0]
    thresholds = {
        Rule.IOU: own if supervision.objectness == "iou" else published,
        Rule.BM: own if supervision.objectness == "bm" else BM_POSITIVE_IOU,
    }
    found: dict[Rule, PositiveAnchors] = {}
    for rule, positive in thresholds.items():
        matching = IouMatching(positive=positive, negative=min(negative, positive), samples=supervision.rpn_samples)
        matched = matching.match(grid, target)
        anchors = torch.nonzero(matched >= 0)[:, 0]
        labels = (
            torch.ones(len(anchors)) if rule is Rule.IOU else values_at_centres(target["bm"], grid.anchors[anchors])
        )
        found[rule] = _native(grid, slab, anchors, labels, lesions[matched[anchors]])
    picked = bmc_regression(supervision)(grid, target)
    # Regression hands out boxes, not which lesions they are of: they are the target's own, to the last bit.
    matched = torch.zeros(len(picked.anchors), dtype=torch.int64)
    for lesion, box in enumerate(target["boxes"]):
        matched[(picked.boxes == box).all(dim=1)] = lesion
    values = torch.cat([cell_values(target["bm"][None], level)[0] for level in grid.levels])
    labels = values[picked.anchors // grid.per_cell]
    found[Rule.BMC] = _native(grid, slab, picked.anchors, labels, lesions[matched])
    return found


def padded_size(grid: Grid) -> tuple[int, int]:
    """Height and width of the input that a grid's cells cover."""
    (height, width), stride = grid.levels[0], grid.strides[0]
    return round(height * stride), round(width * stride)


def _cut(slab: Slab, boxes: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Edge-based boxes in a slab, cut off at its border as in training, and which of the lesions they are of."""
    height, width = slab.hu.shape[1:]
    cut = np.clip(slab.to_network(boxes), 0, [width, height, width, height])
    there = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
    return cut[there], torch.from_numpy(np.flatnonzero(there))


def _target(
    slab: Slab, boxes: np.ndarray, supervision: TwoStageSupervision, padded: tuple[int, int]
) -> tuple[Target, Tensor]:
    """Boxes and bounding maps as training makes them, and which of the lesions they are of."""
    cut, lesions = _cut(slab, boxes)
    centred, shape = to_centres(cut), (slab.hu.shape[1], slab.hu.shape[2])
    target = {
        "boxes": torch.from_numpy(cut.astype(np.float32)),
        "bm": torch.from_numpy(bounding_map(centred, shape, combine=supervision.combine)),
        "lesion_bms": torch.from_numpy(lesion_maps(centred, shape)),
    }
    return pad_maps(target, padded), lesions


def _native(grid: Grid, slab: Slab, anchors: Tensor, labels: Tensor, lesions: Tensor) -> PositiveAnchors:
    ends = np.cumsum([height * width for height, width in grid.levels]) * grid.per_cell
    return PositiveAnchors(
        boxes=slab.to_native(grid.anchors[anchors].numpy().astype(np.float64)),
        levels=np.searchsorted(ends, anchors.numpy(), side="right"),
        labels=labels.numpy(),
        lesions=lesions.numpy(),
    )


def _run(slab: Slab, detector: LoadedDetector) -> tuple[list[Tensor], SlabDetections]:
    """Detect on a slab; give the objectness logits (anchors, h, w) of each level as well."""
    logits: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: tuple[list[Tensor], list[Tensor]]) -> None:
        logits.extend(level[0].float().cpu() for level in output[0])

    model = detector.model
    hook = detector.model.anchor_head.register_forward_hook(keep)
    before, model.predicts_maps = model.predicts_maps, True
    try:
        (found,) = run_slabs([slab], detector)
    finally:
        hook.remove()
        model.predicts_maps = before
    return logits, found


def _objectness_map(logits: Sequence[Tensor], slab: Slab, shape: tuple[int, int], strides: Sequence[int]) -> np.ndarray:
    """The highest objectness at each pixel of the slice, 0 beyond what the network saw."""
    height, width = slab.hu.shape[1:]
    # Cells cover more than the input where its size is no multiple of their stride.
    sizes = [(level.shape[2] * stride, level.shape[1] * stride) for level, stride in zip(logits, strides, strict=True)]
    covered = [[0, 0, *size] for size in sizes]
    seen, *places = slab.to_native(np.array([[0, 0, width, height], *covered], float))
    levels = [
        paste_map(level.sigmoid().amax(dim=0).numpy(), place, shape)
        for level, place in zip(logits, places, strict=True)
    ]
    return np.maximum.reduce(levels) * (paste_map(np.ones((1, 1)), seen, shape) > 0)


def _slice_maps(found: SlabDetections, slab: Slab, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """A one-stage detector's maps at the slice's pixels, 0 beyond what the network saw."""
    height, width = slab.hu.shape[1:]
    (seen,) = slab.to_native(np.array([[0, 0, width, height]], float))
    return {name: paste_map(values, seen, shape) for name, values in found.slice_maps.items()}


def _branch_map(maps: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The highest of the maps (n, h, w) over their boxes (n, 4) at each pixel of the slice."""
    pasted = np.zeros(shape, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        np.maximum(pasted, paste_map(values, box, shape), out=pasted)
    return pasted
