"""Training targets of one image."""

import numpy as np
import torch
from torch import Tensor

from napari_uld.detectors.specs.system import InputSpec, SupervisionSpec, TwoStageSupervision
from napari_uld.lesions.boxes import area, to_centres
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map, lesion_maps


def make_target(
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray | None,
    shape: tuple[int, int],
    inputs: InputSpec,
    supervision: SupervisionSpec,
) -> dict[str, Tensor]:
    """Boxes, labels and the maps that the supervision asks for.

    Parameters
    ----------
    boxes, labels
        (n, 4) edge-based boxes in the network's input, and their (n,) classes.
    masks
        (n, H, W) of 0 and 1 where the supervision asks for them.
    shape
        (height, width) of that input.

    Returns
    -------
    dict
        ``boxes``, ``labels``, and where needed ``bm`` (H, W), ``lesion_bms`` (n, H, W), ``abm`` (H, W),
        ``masks`` (n, H, W).
    """
    target = {
        "boxes": torch.from_numpy(boxes.astype(np.float32)),
        "labels": torch.from_numpy(labels.astype(np.int64)),
    }
    if isinstance(supervision, TwoStageSupervision):
        target |= _bounding_maps(boxes, shape, inputs, supervision)
    if masks is not None:
        target["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    return target


def _bounding_maps(
    boxes: np.ndarray, shape: tuple[int, int], inputs: InputSpec, supervision: TwoStageSupervision
) -> dict[str, Tensor]:
    """The maps of the bounding-map paper that are asked for."""
    maps = {}
    # Maps are sampled at pixel centres, which is what pixel-centre boxes count in.
    centred = to_centres(boxes)
    if supervision.objectness != "iou" or supervision.roi_branch == "bm":
        maps["bm"] = bounding_map(centred, shape, combine=supervision.combine)
    if supervision.regression == "bmc":
        maps["lesion_bms"] = lesion_maps(centred, shape)
    if supervision.roi_branch == "abm":
        small, medium = supervision.abm_areas
        areas = area(boxes) * inputs.scale_to_512**2
        maps["abm"] = adaptive_bounding_map(
            centred, shape, areas=areas, small=small, medium=medium, combine=supervision.combine
        )
    return {name: torch.from_numpy(values) for name, values in maps.items()}
