"""Hard negative example mining: what a detector is sure of and wrong about becomes a class of its own.

Section 2.2 of Tang et al., "ULDor: A Universal Lesion Detector for CT Scans with Pseudo Masks and Hard Negative
Example Mining". S1 is a detection's lesion score, S2 the IoU of its predicted mask with a lesion's pseudo mask.

The paper's set of "even higher probability" than a good detection may hold other good ones: second detections of
one lesion, or second lesions. Here a detection with a good mask is never mined. Of several good ones the surest
is the one compared with.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.detectors.specs.mining import HardNegativesSpec, MiningSpec
from napari_uld.errors import TrainingError
from napari_uld.inference.candidates import SlabDetections, candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.paste import paste_map
from napari_uld.lesions.boxes import intersection
from napari_uld.lesions.findings import HARD_NEGATIVE_LABEL, Findings
from napari_uld.lesions.findings_file import SUFFIX, read_findings, write_findings
from napari_uld.lesions.rle import decode, encode
from napari_uld.masks import INSIDE
from napari_uld.progress import Progress, Work

from ..data.key_slices import KeySlice
from ..data.slab_dataset import HardNegatives, SlabDataset
from .miner import Miner, Training

MINED = "mined"
# The findings' column of S2.
S2 = "s2"


class HardNegativeMiner(Miner):
    """Mines the training set after every epoch but the last; what it mined before is forgotten."""

    spec: HardNegativesSpec

    def __init__(self, spec: MiningSpec, run: Training) -> None:
        super().__init__(spec, run)
        if not isinstance(run.train_set, SlabDataset):
            raise TrainingError("Hard negatives are mined on key slices: input.volume must be false")
        self.train_set = run.train_set

    @property
    def folder(self) -> Path:
        """Where the hard negatives go that the last finished epoch mined."""
        return self.run.out / MINED / f"epoch_{self.run.epoch}"

    def after_epoch(self) -> Work[None]:
        """Mine for the next epoch."""
        run = self.run
        if run.epoch == run.epochs:
            return
        seed = run.seed * 1_000_003 + run.epoch
        mined = yield from mine(run.detector(), self.train_set, self.spec, seed)
        write_mined(self.folder, self.train_set.slices, mined, run.recipe.method.name)
        self.train_set.negatives = mined
        run.log(event="mining", epoch=run.epoch, images=len(mined), mined=sum(len(m.boxes) for m in mined.values()))

    def load(self, state: dict[str, Any]) -> None:
        """Read what the last finished epoch mined."""
        if 0 < self.run.epoch < self.run.epochs:
            self.train_set.negatives = read_mined(self.folder, self.train_set.slices)


def minable(scores: np.ndarray, overlap_of: Callable[[int], float], spec: HardNegativesSpec) -> np.ndarray:
    """Find the detections of one image that hard negatives are drawn from, E in the paper.

    Parameters
    ----------
    scores
        (n,) S1 in descending order.
    overlap_of
        S2 of a detection by its index; asked only as far as needed.

    Returns
    -------
    np.ndarray
        Indices: all that are surer than the surest good detection; without a good one, those
        with S1 above the recipe's score.
    """
    for index, score in enumerate(scores):
        if overlap_of(index) > spec.overlap:
            return np.flatnonzero(scores[:index] > score)
    return np.flatnonzero(scores > spec.score)


def mine(
    detector: LoadedDetector, dataset: SlabDataset, spec: HardNegativesSpec, seed: int
) -> Work[dict[int, HardNegatives]]:
    """Mine every image of a training set that shows a lesion, without its flips.

    Returns
    -------
    dict
        Hard negatives by index of their image, for images that have any.
    """
    rng = np.random.default_rng(seed)
    model = detector.model
    before, model.predicts_maps = model.predicts_maps, True
    mined: dict[int, HardNegatives] = {}
    try:
        for index, key in enumerate(dataset.slices):
            if not len(key.boxes):
                continue
            yield Progress(index, len(dataset), f"Mining hard negatives, {len(mined)} images have some")
            (detections,) = candidates([dataset.slab(index)], detector)
            lesions = [decode(mask) for mask in dataset.masks(index)]
            negatives = _mine_image(detections, key, lesions, spec, rng)
            if len(negatives.boxes):
                mined[index] = negatives
    finally:
        model.predicts_maps = before
    yield Progress(len(dataset), len(dataset), f"{len(mined)} images have hard negatives")
    return mined


def write_mined(folder: Path, slices: Sequence[KeySlice], mined: dict[int, HardNegatives], method: str) -> None:
    """Write what was mined as findings, one file a scan: ``<series>.findings.json``; what was there goes."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for series in sorted({slices[index].series for index in mined}):
        of_series = [
            (slices[index], negatives) for index, negatives in sorted(mined.items()) if slices[index].series == series
        ]
        count = sum(len(negatives.boxes) for _, negatives in of_series)
        overlaps = [negatives.overlaps for _, negatives in of_series if negatives.overlaps is not None]
        findings = Findings.from_rows(
            scan_id=f"deeplesion:{series}",
            scan_name=series,
            method=method,
            checkpoint=folder.name,
            boxes=np.concatenate([negatives.boxes for _, negatives in of_series]),
            scores=np.concatenate([negatives.scores for _, negatives in of_series]),
            key_slices=np.concatenate([np.full(len(negatives.boxes), key.number) for key, negatives in of_series]),
            labels=np.full(count, HARD_NEGATIVE_LABEL),
            negative=np.full(count, True),
            masks=tuple(mask for _, negatives in of_series for mask in negatives.masks),
            columns={S2: np.concatenate(overlaps)} if len(overlaps) == len(of_series) else None,
        )
        write_findings(folder / f"{series}{SUFFIX}", findings)


def read_mined(folder: Path, slices: Sequence[KeySlice]) -> dict[int, HardNegatives]:
    """Read what `write_mined` wrote.

    Raises
    ------
    TrainingError
        If the folder is not there, or a file is of a slice that is not trained on.
    AnnotationFileError
        If a file cannot be read.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not there, which holds what the last epoch mined: begin in another folder")
    index_of = {(key.series, key.number): index for index, key in enumerate(slices)}
    mined: dict[int, HardNegatives] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        findings = read_findings(path)
        for number in np.unique(findings.key_slices):
            rows = np.flatnonzero(findings.key_slices == number)
            masks = tuple(mask for row in rows if (mask := findings.masks[row]) is not None)
            index = index_of.get((findings.scan_name, int(number)))
            if index is None:
                raise TrainingError(f"{path} is of slice {number}, which is not among the data given")
            overlaps = findings.columns[S2][rows] if S2 in findings.columns else None
            mined[index] = HardNegatives(findings.boxes[rows], findings.scores[rows], masks, overlaps)
    return mined


def _mine_image(
    detections: SlabDetections,
    key: KeySlice,
    lesions: Sequence[np.ndarray],
    spec: HardNegativesSpec,
    rng: np.random.Generator,
) -> HardNegatives:
    shape = lesions[0].shape
    near = intersection(detections.boxes, key.boxes).max(axis=1) > 0
    maps = detections.maps if detections.maps is not None else np.zeros((0, 1, 1), np.float32)
    order = np.argsort(-detections.scores, kind="stable")

    def mask(row: int) -> np.ndarray:
        return paste_map(maps[order[row]], detections.boxes[order[row]], shape) >= INSIDE

    def overlap(row: int) -> float:
        if not near[order[row]]:
            return 0.0
        predicted = mask(row)
        return max((predicted & true).sum() / max((predicted | true).sum(), 1) for true in lesions)

    pool = minable(detections.scores[order], overlap, spec)
    drawn = np.sort(rng.permutation(pool)[: spec.per_image])
    return HardNegatives(
        detections.boxes[order[drawn]],
        detections.scores[order[drawn]],
        tuple(encode(mask(r)) for r in drawn),
        np.array([overlap(r) for r in drawn], dtype=np.float64),
    )
