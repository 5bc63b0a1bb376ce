"""Training targets of one image."""

import numpy as np
import torch
from torch import Tensor

from napari_uld.detectors.spec import InputSpec, SupervisionSpec
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
    # Maps are sampled at pixel centres, which is what pixel-centre boxes count in.
    centred = to_centres(boxes)
    if supervision.objectness != "iou" or supervision.roi_branch == "bm":
        target["bm"] = torch.from_numpy(bounding_map(centred, shape, combine=supervision.combine))
    if supervision.regression == "bmc":
        target["lesion_bms"] = torch.from_numpy(lesion_maps(centred, shape))
    if supervision.roi_branch == "abm":
        small, medium = supervision.abm_areas
        areas = area(boxes) * inputs.scale_to_512**2
        maps = adaptive_bounding_map(
            centred, shape, areas=areas, small=small, medium=medium, combine=supervision.combine
        )
        target["abm"] = torch.from_numpy(maps)
    if masks is not None:
        target["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    return target
