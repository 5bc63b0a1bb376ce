"""What predicting maps costs at inference."""

import statistics
import time

from napari_uld.inference.candidates import candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.progress import Progress, Work

from ..data.slab_dataset import SlabDataset

SLICES = 40


def seconds_a_slice(detector: LoadedDetector, dataset: SlabDataset) -> Work[dict[str, float]]:
    """Median seconds of a slice, with and without predicting the branch's maps, by turns on the same slices.

    Slices are spread over the data set and read beforehand: only the network and what follows it count.

    Returns
    -------
    dict
        Seconds by "with maps" and "without maps"; the same where the detector has no branch.
    """
    indices = range(0, len(dataset), max(1, len(dataset) // SLICES))[:SLICES]
    taken: dict[bool, list[float]] = {True: [], False: []}
    model = detector.model
    before = model.predicts_maps
    try:
        for done, index in enumerate(indices):
            yield Progress(done, len(indices), "Measuring inference")
            slab = dataset.slab(index)
            # Who goes first changes from slice to slice: the second one finds warm caches.
            for maps in (True, False) if done % 2 else (False, True):
                model.predicts_maps = maps
                started = time.perf_counter()
                list(candidates([slab], detector))
                taken[maps].append(time.perf_counter() - started)
    finally:
        model.predicts_maps = before
    return {"with maps": statistics.median(taken[True]), "without maps": statistics.median(taken[False])}
