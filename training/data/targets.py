"""Training targets of one image."""

import numpy as np
import torch
from torch import Tensor

from napari_uld.detectors.spec import InputSpec, SupervisionSpec
from napari_uld.lesions.boxes import area, to_centres
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map, lesion_maps


def make_target(
    boxes: np.ndarray, shape: tuple[int, int], inputs: InputSpec, supervision: SupervisionSpec
) -> dict[str, Tensor]:
    """Boxes, labels and the maps that the supervision asks for.

    Parameters
    ----------
    boxes
        (n, 4) edge-based boxes in the network's input.
    shape
        (height, width) of that input.

    Returns
    -------
    dict
        ``boxes``, ``labels``, and where needed ``bm`` (H, W), ``lesion_bms`` (n, H, W), ``abm`` (H, W).
    """
    target = {
        "boxes": torch.from_numpy(boxes.astype(np.float32)),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }
    # Maps are sampled at pixel centres, which is what pixel-centre boxes count in.
    centred = to_centres(boxes)
    if "bmc" in (supervision.objectness, supervision.regression):
        target["bm"] = torch.from_numpy(bounding_map(centred, shape, combine=supervision.combine))
        target["lesion_bms"] = torch.from_numpy(lesion_maps(centred, shape))
    if supervision.roi_branch == "abm":
        small, medium = supervision.abm_areas
        areas = area(boxes) * inputs.scale_to_512**2
        maps = adaptive_bounding_map(
            centred, shape, areas=areas, small=small, medium=medium, combine=supervision.combine
        )
        target["abm"] = torch.from_numpy(maps)
    return target
