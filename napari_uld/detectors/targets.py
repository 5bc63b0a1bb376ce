"""What is known of one image, as a network's input has it."""

import numpy as np
import torch
from torch import Tensor

from napari_uld.detectors.specs.family import TargetMaps
from napari_uld.lesions.boxes import to_centres
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map, lesion_maps, size_adaptive_alpha


def cut_off(boxes: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Cut edge-based boxes (n, 4) or (n, 6) off at an image's border.

    Parameters
    ----------
    boxes
        Edge-based, in the network's input.
    shape
        (height, width) or (depth, height, width).

    Returns
    -------
    boxes, kept
        Those of which anything is left, and (n,) bool: which they are.
    """
    cut = np.clip(boxes, 0, np.tile(shape[::-1], 2))
    dims = len(shape)
    kept = (cut[:, dims:] > cut[:, :dims]).all(axis=1)
    return cut[kept], kept


def make_target(
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray | None,
    shape: tuple[int, int],
    *,
    maps: TargetMaps,
    pixel_area: float,
) -> dict[str, Tensor]:
    """Boxes, labels and the maps that a supervision asks for.

    Parameters
    ----------
    boxes, labels
        (n, 4) edge-based boxes in the network's input, and their (n,) classes.
    masks
        (n, H, W) of 0 and 1 where the supervision asks for them.
    shape
        (height, width) of that input.
    maps
        The bounding maps asked for.
    pixel_area
        Area of that input's pixels in mm^2, which the ABM asks for.

    Returns
    -------
    dict
        ``boxes``, ``labels``, and where needed ``bm``, ``abm`` (H, W), ``lesion_bms``, ``lesion_abms`` (n, H, W),
        ``masks`` (n, H, W).
    """
    target = {
        "boxes": torch.from_numpy(boxes.astype(np.float32)),
        "labels": torch.from_numpy(labels.astype(np.int64)),
    }
    # Maps are sampled at pixel centres, which is what pixel-centre boxes count in.
    centred, (small, medium) = to_centres(boxes), maps.areas
    make = {
        "bm": lambda: bounding_map(centred, shape, combine=maps.combine),
        "lesion_bms": lambda: lesion_maps(centred, shape),
        "abm": lambda: adaptive_bounding_map(
            centred, shape, pixel_area=pixel_area, small=small, medium=medium, combine=maps.combine
        ),
        "lesion_abms": lambda: lesion_maps(centred, shape, size_adaptive_alpha(centred, pixel_area, small, medium)),
    }
    target |= {name: torch.from_numpy(make[name]()) for name in make if name in maps.names}
    if masks is not None:
        target["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    return target
