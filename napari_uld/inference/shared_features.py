"""A network over a whole scan: an image that several slabs hold goes through its backbone once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.batch import pad_images
from napari_uld.detectors.parts import Features
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.device import mixed_precision
from napari_uld.inference.slabs import ScanGrid, Slab, normalize


class SeenImage(NamedTuple):
    """An image of a scan, as sampled and as the network wants it, and its features in each window."""

    slab: Slab
    padded: ImageList
    features: list[Features]


def run_grid(
    grid: ScanGrid, keys: np.ndarray, detector: LoadedDetector, *, batch: int
) -> Iterator[tuple[Slab, dict[str, Tensor]]]:
    """Run on the slabs around positions of a grid, each of their images through the backbone once.

    An image is kept while a later slab may need it: at most ``slices - slices_per_image + batch`` are. At the
    published scale one has 22 MiB in float32 (16 of them features): .15 GiB for slabs of 9 slices, .53 GiB for 27.

    Parameters
    ----------
    keys
        (n,) ascending positions of the key slices.
    batch
        Images, and slabs, that are run together.

    Yields
    ------
    slab, output
        For each key its own image, and what the network gives for it.
    """
    seen: dict[int, SeenImage] = {}
    for first in range(0, len(keys), batch):
        centres = grid.image_centres(keys[first : first + batch])
        seen = {centre: image for centre, image in seen.items() if centre >= centres.min()}
        new = [int(centre) for centre in np.unique(centres) if int(centre) not in seen]
        for start in range(0, len(new), batch):
            seen |= _see(grid, new[start : start + batch], detector)
        middles = centres[:, centres.shape[1] // 2]
        outputs = _go_on([[seen[int(centre)] for centre in slab] for slab in centres], detector)
        yield from zip([seen[int(centre)].slab for centre in middles], outputs, strict=True)


def _see(grid: ScanGrid, centres: list[int], detector: LoadedDetector) -> dict[int, SeenImage]:
    width, windows = detector.inputs.slices_per_image, len(detector.inputs.windows)
    slabs = [grid.window(centre, width) for centre in centres]
    images = [torch.from_numpy(normalize(slab.hu, detector.inputs)).to(detector.device) for slab in slabs]
    batch = pad_images(images, detector.model.size_divisible)
    with torch.inference_mode(), mixed_precision(detector.device, enabled=detector.mixed):
        features = detector.model.per_image(batch.tensors.unflatten(1, (windows, width)).flatten(0, 1))
    return {
        centre: SeenImage(
            slab,
            ImageList(batch.tensors[i : i + 1], batch.image_sizes[i : i + 1]),
            [_row(features, i * windows + window) for window in range(windows)],
        )
        for i, (centre, slab) in enumerate(zip(centres, slabs, strict=True))
    }


def _go_on(slabs: list[list[SeenImage]], detector: LoadedDetector) -> list[dict[str, Tensor]]:
    keys = [slab[len(slab) // 2] for slab in slabs]
    windows = range(len(detector.inputs.windows))
    with torch.inference_mode(), mixed_precision(detector.device, enabled=detector.mixed):
        sizes = [size for key in keys for size in key.padded.image_sizes]
        batch = ImageList(_stack([key.padded.tensors for key in keys]), sizes)
        places = [
            {name: _stack([image.features[window][name] for image in place]) for name in place[0].features[window]}
            for window in windows
            for place in zip(*slabs, strict=True)
        ]
        thickness = torch.tensor([key.slab.thickness for key in keys], dtype=torch.float32, device=detector.device)
        return detector.model.from_features(places, batch, thickness)


def _row(features: Features, row: int) -> Features:
    return {name: level[row : row + 1] for name, level in features.items()}


def _stack(batches: list[Tensor]) -> Tensor:
    # A CPU runs slabs one by one: there is nothing to join then, and `cat` would copy all the same.
    return batches[0] if len(batches) == 1 else torch.cat(batches)
