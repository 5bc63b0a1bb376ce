"""Hard negatives of scans that are known, by themselves or beside a mean teacher: P- in "Lesion-Harvester".

A fixed share of the training patients counts as fully annotated. There the starting network's surest misses are mined
before the first step; they are the background that two stages sample first, and where a heat map of centres falls below
0. Slices that show no lesion at all and carry some join the training images.
"""

import shutil
from pathlib import Path

import numpy as np

from napari_uld.detectors.specs.mining import KnownNegativesSpec, MeanTeacherNegativesSpec, MiningSpec
from napari_uld.errors import TrainingError
from napari_uld.progress import Work

from ..data.key_slices import KeySlice
from ..data.phantom.truth import FOLDER as TRUTH_FOLDER
from ..data.sets import NEGATIVES
from ..data.slab_dataset import SlabDataset
from ..data.true_boxes import TrueBoxes
from .mean_teacher import MeanTeacher
from .miner import Miner, Training
from .misses import Misses, is_known, mine_misses, read_misses, write_misses


class KnownNegatives(Miner):
    """Teaches hard negatives that the starting network's surest misses are."""

    spec: KnownNegativesSpec

    def __init__(self, spec: MiningSpec, run: Training) -> None:
        super().__init__(spec, run)
        if not isinstance(run.train_set, SlabDataset):
            raise TrainingError("Hard negatives are mined slice by slice: input.volume must be false")
        self.train_set = run.train_set

    def before_training(self) -> Work[None]:
        """Mine, or take what is there, and hand it to the training set."""
        # What a data set has is taken instead of what a run would mine.
        given, mined = self.run.data / NEGATIVES, self.run.out / NEGATIVES
        if not given.is_dir() and not mined.is_dir():
            yield from self._mine(mined)
        found = read_misses(given if given.is_dir() else mined)
        added = self._teach(found)
        boxes = sum(map(len, self.train_set.first_negatives.values()))
        self.run.log(event="negatives", boxes=boxes, images=len(self.train_set.first_negatives), added_images=added)

    def _mine(self, folder: Path) -> Work[None]:
        if not (self.run.data / TRUTH_FOLDER).is_dir():
            raise TrainingError(
                f"{self.run.data} holds no whole truth to tell misses by: give findings with negative rows in "
                f"{self.run.data / NEGATIVES}, as `napari-uld mine --negatives` writes them"
            )
        listed = sorted({key.series for key in self.train_set.slices if is_known(key.patient, self.spec.known)})
        found = yield from mine_misses(
            self.run.detector(),
            self.run.data,
            listed,
            score=self.spec.negative_score,
            per_slice=self.spec.negatives_per_slice,
        )
        # Under its name once it is whole: a run that is stopped meanwhile mines again.
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_misses(partial, found)
        partial.rename(folder)

    def _teach(self, found: Misses) -> int:
        """Hand misses to the training set; gives how many slices joined it."""
        data = self.train_set
        index_of = {(key.series, key.number): index for index, key in enumerate(data.slices)}
        of_series = {key.series: key for key in data.slices}
        truth = TrueBoxes(self.run.data) if (self.run.data / TRUTH_FOLDER).is_dir() else None
        first: dict[int, np.ndarray] = {}
        added: list[KeySlice] = []
        for (series, number), boxes in found.items():
            # `mine --negatives` searches every scan whose truth is on disk; most of them count as listed alone here.
            if truth is not None and series in of_series and not is_known(of_series[series].patient, self.spec.known):
                continue
            index = index_of.get((series, number))
            if index is None:
                # Without the truth nobody knows whether it shows a lesion, which would be background.
                if truth is None or series not in of_series or len(truth.on(series, number)):
                    continue
                index = len(data.slices) + len(added)
                key = of_series[series]
                added.append(KeySlice(series, number, key.spacing, np.zeros((0, 4)), (), key.window))
            first[index] = boxes
        data.slices = [*data.slices, *added]
        data.first_negatives = first
        return len(added)


class MeanTeacherWithNegatives(KnownNegatives, MeanTeacher):
    """A mean teacher whose student learns hard negatives, too."""

    spec: MeanTeacherNegativesSpec
