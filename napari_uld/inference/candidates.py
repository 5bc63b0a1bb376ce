"""The one way from slabs to raw detections: detecting, evaluating, mining and looking inside all take it.

An image that several slabs of a scan hold goes through the backbone once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_uld.detectors.batch import pad_images
from napari_uld.detectors.parts import GATE, PEAKS, POSITION, Features
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.device import mixed_precision
from napari_uld.inference.slabs import Slab, SlabImage, normalize
from napari_uld.lesions.findings import LESION_LABEL

# Slabs run together on a GPU; on a CPU one by one is faster.
GPU_BATCH = 8
# Of what a network gives for a slab, all but these are maps of the whole slice.
NO_MAPS = {"boxes", "scores", "labels", "masks", PEAKS, POSITION, GATE}
# What a slab's images became, in each window.
Seen = dict[SlabImage, list[Features]]


@dataclass(frozen=True, eq=False)
class SlabDetections:
    """What a detector finds on one key slice.

    Parameters
    ----------
    boxes
        (n, 4) native pixel-centre boxes, best first.
    scores, labels
        (n,) each.
    maps
        (n, h, w) the segmentation branch's map over each box, None where there is no branch or it was not asked.
    slice_maps
        Maps (H, W) of the whole input by name: a one-stage detector's ``segmentation`` and ``attention ...``.
    places
        (n, 2) native points (x, y) that they come from: peaks of a heat map, queries' reference points; None where the
        detector has neither.
    position
        Where along the body the slice lies, from 0 towards the head to 1; None where the detector does not tell.
    gate
        (images,) in [0, 1], how much a gate lets through of each image of the slab; None where there is none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    maps: np.ndarray | None
    slice_maps: Mapping[str, np.ndarray]
    places: np.ndarray | None = None
    position: float | None = None
    gate: np.ndarray | None = None


def candidates(
    slabs: Iterable[Slab], detector: LoadedDetector, *, count_negatives: bool = False
) -> Iterator[SlabDetections]:
    """Detect on the key slice of each slab.

    An image is kept while a later slab may hold it: one image for each slice within the slab's reach on both sides,
    at the published scale 22 MiB each in float32 (.13 GiB for 9 slices 2 mm apart, .5 GiB for 27); of MVP-Net's three
    windows 160 MiB (1.1 GiB for 9 slices).

    Parameters
    ----------
    slabs
        Of one scan, from its first slice to its last; taken as they are needed.
    count_negatives
        Whether to keep detections of the false-positive class, which is dropped otherwise.
    """
    seen: Seen = {}
    for batch in _batches(slabs, detector):
        earliest = min(slab.images[0].centre for slab in batch)
        seen = {image: features for image, features in seen.items() if image.centre >= earliest}
        with torch.inference_mode(), mixed_precision(detector.device, enabled=detector.mixed):
            outputs = _run(batch, seen, detector)
        for slab, output in zip(batch, outputs, strict=True):
            yield slab_detections(slab, output, count_negatives=count_negatives)


def slab_detections(slab: Slab, output: dict[str, Tensor], *, count_negatives: bool = False) -> SlabDetections:
    """Bring what a network gives for one slab into native pixels."""
    detections = {name: value.float().cpu().numpy() for name, value in output.items()}
    kept = np.full(len(detections["labels"]), True) if count_negatives else detections["labels"] == LESION_LABEL
    return SlabDetections(
        slab.axes.to_native(detections["boxes"][kept].astype(np.float64)),
        detections["scores"][kept],
        detections["labels"][kept].astype(int),
        detections["masks"][kept][:, 0] if "masks" in detections else None,
        {name: values for name, values in detections.items() if name not in NO_MAPS},
        slab.axes.to_native(detections[PEAKS][kept].astype(np.float64)) if PEAKS in detections else None,
        float(detections[POSITION]) if POSITION in detections else None,
        detections.get(GATE),
    )


def _batches(slabs: Iterable[Slab], detector: LoadedDetector) -> Iterator[list[Slab]]:
    """Slabs to run together: neighbours that are padded to one size, so that none is padded more than it is alone."""
    most, divisible = (1 if detector.device.type == "cpu" else GPU_BATCH), detector.model.size_divisible
    batch: list[Slab] = []
    for slab in slabs:
        if batch and (len(batch) == most or _padded(slab, divisible) != _padded(batch[0], divisible)):
            yield batch
            batch = []
        batch.append(slab)
    if batch:
        yield batch


def _padded(slab: Slab, divisible: int) -> tuple[int, ...]:
    return tuple(-(-side // divisible) for side in slab.hu.shape[1:])


def _run(batch: list[Slab], seen: Seen, detector: LoadedDetector) -> list[dict[str, Tensor]]:
    """Run on slabs of one padded size; what their images became joins `seen`."""
    inputs, model = detector.inputs, detector.model
    images = [torch.from_numpy(normalize(slab.hu, inputs)).to(detector.device) for slab in batch]
    padded = pad_images(images, model.size_divisible)
    windows = len(inputs.windows)
    # (slabs, windows, images, slices of an image, H, W)
    parts = padded.tensors.unflatten(1, (windows, inputs.images_per_window, inputs.slices_per_image))
    new = {
        image: parts[row, :, place]
        for row, slab in enumerate(batch)
        for place, image in enumerate(slab.images)
        if image not in seen
    }
    if new:
        features = model.per_image(torch.cat(list(new.values())))
        for first, image in enumerate(new):
            seen[image] = [_row(features, first * windows + window) for window in range(windows)]
    places = [
        _joined([seen[slab.images[place]][window] for slab in batch])
        for window in range(windows)
        for place in range(inputs.images_per_window)
    ]
    thickness = torch.tensor([slab.thickness for slab in batch], dtype=torch.float32, device=detector.device)
    return model.from_features(places, padded, thickness)


def _row(features: Features, row: int) -> Features:
    return {name: level[row : row + 1] for name, level in features.items()}


def _joined(rows: list[Features]) -> Features:
    # A CPU runs slabs one by one: there is nothing to join then, and `cat` would copy all the same.
    if len(rows) == 1:
        return rows[0]
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
