"""Look inside a detector on one slice: which anchors teach it, what it takes for an object, what its branch draws.

This is figure 1 of the BMC paper (see `napari_uld.detectors.losses.bounding_map`) on any slice.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.parts import ATTENTION, SEGMENTATION, Detector
from napari_uld.detectors.specs.family import SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.system import System, system_of
from napari_uld.detectors.targets import cut_off, make_target
from napari_uld.errors import RecipeError
from napari_uld.inference.candidates import SlabDetections, candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import lowest_score
from napari_uld.inference.inside_result import Inside, PositiveAnchors
from napari_uld.inference.paste import paste_map
from napari_uld.inference.slabs import Slab, extract_slab

# The maps that rules are told by, whichever a detector follows.
RULE_MAPS = frozenset({"bm", "lesion_bms"})


def look_inside(volume: CTVolume, z: int, boxes: np.ndarray, detector: LoadedDetector) -> Inside:
    """Look inside a trained detector.

    Parameters
    ----------
    volume, z
        The scan, and the index of the slice.
    boxes
        (n, 4) pixel-centre boxes of the slice's lesions.
    """
    _check_slabs(detector.inputs)
    slab = extract_slab(volume.hu, volume.spacing, z, detector.inputs)
    system = system_of(detector.info.recipe)
    objectness, detections = _run(slab, detector)
    shape = (volume.shape[1], volume.shape[2])
    kept = detections.scores >= lowest_score(detector.info.operating_point)
    pasted = slice_maps(detections, slab, shape)
    branch = pasted.pop(SEGMENTATION, None)
    if detections.maps is not None:
        branch = _branch_map(detections.maps[kept], detections.boxes[kept], shape)
    return replace(
        _anchors_alone(detector.model, slab, z, boxes, system.supervision),
        objectness=_objectness_map(objectness, slab, shape, detector.model.strides),
        branch=branch,
        attention={name.removeprefix(ATTENTION): values for name, values in pasted.items()},
        boxes=detections.boxes[kept],
        scores=detections.scores[kept],
        places=None if detections.places is None else detections.places[kept],
        detector=detector.info.detector,
        operating_point=detector.info.operating_point,
        position=detections.position,
        windows=_by_window(detections.gate, detector.inputs),
    )


def _by_window(gate: np.ndarray | None, inputs: InputSpec) -> dict[tuple[float, float], float]:
    """The mean over each window's images of what a gate lets through."""
    if gate is None:
        return {}
    means = gate.reshape(len(inputs.windows), -1).mean(axis=1).tolist()
    return dict(zip(inputs.windows, means, strict=True))


def look_inside_recipe(volume: CTVolume, z: int, boxes: np.ndarray, system: System) -> Inside:
    """Look at what a detector would learn from, before there are any weights; see `look_inside`."""
    _check_slabs(system.input)
    # On this device parameters have shapes and no values: only strides and anchors are asked for.
    with torch.device("meta"):
        model = build_detector(system)
    slab = extract_slab(volume.hu, volume.spacing, z, system.input)
    return _anchors_alone(model, slab, z, boxes, system.supervision)


def _check_slabs(inputs: InputSpec) -> None:
    if inputs.volume:
        raise RecipeError(
            "One slice shows nothing of a detector that sees volumes, and before it is trained there is no heat map "
            "either: choose a checkpoint of it, or a detector that sees slabs"
        )


def _anchors_alone(model: Detector, slab: Slab, z: int, boxes: np.ndarray, supervision: SupervisionSpec) -> Inside:
    grid_size = model.grid_size(padded_size(model, slab))
    return Inside(
        z=z,
        lesions=boxes,
        anchors=positive_anchors(model, slab, boxes, supervision),
        cells=grid_size.cells,
        per_cell=grid_size.per_cell,
        objectness=None,
        branch=None,
        attention={},
        boxes=np.zeros((0, 4)),
        scores=np.zeros(0),
        detector="",
        operating_point=None,
    )


def padded_size(model: Detector, slab: Slab) -> tuple[int, ...]:
    """Height and width that a model pads a slab to."""
    return tuple(pad_images([torch.from_numpy(slab.hu)], model.size_divisible).tensors.shape[2:])


def positive_anchors(
    model: Detector, slab: Slab, boxes: np.ndarray, supervision: SupervisionSpec
) -> dict[str, PositiveAnchors]:
    """Give the anchors that each rule of a detector makes positive (see `Detector.taught`).

    Parameters
    ----------
    boxes
        (n, 4) native pixel-centre boxes of the lesions; what lies beyond the crop is cut off, as in training.
    """
    shape = (slab.hu.shape[1], slab.hu.shape[2])
    cut, kept = cut_off(slab.axes.to_network(boxes), shape)
    maps = supervision.maps._replace(names=RULE_MAPS)
    target = make_target(cut, np.ones(len(cut)), None, shape, maps=maps, pixel_area=slab.pixel_area)
    size = padded_size(model, slab)
    lesions = np.flatnonzero(kept)
    return {
        rule: PositiveAnchors(
            boxes=slab.axes.to_native(taught.boxes.numpy().astype(np.float64)),
            levels=taught.levels.numpy(),
            labels=taught.labels.numpy(),
            lesions=lesions[taught.lesions.numpy()],
        )
        for rule, taught in model.taught(pad_maps(target, size), size).items()
    }


def _run(slab: Slab, detector: LoadedDetector) -> tuple[list[Tensor], SlabDetections]:
    """Detect on a slab; give the objectness logits (anchors, h, w) of each level as well."""
    logits: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: tuple[list[Tensor], ...]) -> None:
        logits.extend(level[0].float().cpu() for level in output[0])

    model = detector.model
    hook = detector.model.dense_head.register_forward_hook(keep)
    before, model.predicts_maps = model.predicts_maps, True
    try:
        (detections,) = candidates([slab], detector)
    finally:
        hook.remove()
        model.predicts_maps = before
    return logits, detections


def _objectness_map(logits: Sequence[Tensor], slab: Slab, shape: tuple[int, int], strides: Sequence[int]) -> np.ndarray:
    """The highest objectness at each pixel of the slice, 0 beyond what the network saw."""
    height, width = slab.hu.shape[1:]
    # Cells cover more than the input where its size is no multiple of their stride.
    sizes = [(level.shape[2] * stride, level.shape[1] * stride) for level, stride in zip(logits, strides, strict=True)]
    covered = [[0, 0, *size] for size in sizes]
    seen, *places = slab.axes.to_native(np.array([[0, 0, width, height], *covered], float))
    levels = [
        paste_map(level.sigmoid().amax(dim=0).numpy(), place, shape)
        for level, place in zip(logits, places, strict=True)
    ]
    return np.maximum.reduce(levels) * (paste_map(np.ones((1, 1)), seen, shape) > 0)


def slice_maps(detections: SlabDetections, slab: Slab, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """A one-stage detector's maps at the slice's pixels, 0 beyond what the network saw."""
    height, width = slab.hu.shape[1:]
    (seen,) = slab.axes.to_native(np.array([[0, 0, width, height]], float))
    return {name: paste_map(values, seen, shape) for name, values in detections.slice_maps.items()}


def _branch_map(maps: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The highest of the maps (n, h, w) over their boxes (n, 4) at each pixel of the slice."""
    pasted = np.zeros(shape, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        np.maximum(pasted, paste_map(values, box, shape), out=pasted)
    return pasted
