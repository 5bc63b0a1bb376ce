"""Hard negatives of a folder of scans whose annotation is complete, for training to take or for a person to look at."""

import time
from pathlib import Path

from napari_uld.detectors.specs.mining import MeanTeacherNegativesSpec
from napari_uld.errors import AnnotationFileError, UldError
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.mining import MinedScan, sentence_of
from napari_uld.lesions.findings_file import SUFFIX, read_findings
from napari_uld.progress import Progress, Work, within

from .data.phantom.truth import truth_series
from .data.sets import NEGATIVES
from .miners.misses import mine_misses, write_misses


def mine_negatives(
    root: Path, detector: LoadedDetector, *, score: float | None = None, out: Path | None = None
) -> Work[list[MinedScan]]:
    """Write a detector's surest misses on every scan whose whole truth is known as findings that are negative.

    A scan that has a file of the same checkpoint is passed over: a stopped run goes on.

    Parameters
    ----------
    root
        Folder of phantoms.
    score
        The least score of a miss; None for what recipes take.
    out
        The files go into a folder ``negatives`` there; None for `root`, where training takes them from.

    Returns
    -------
    One for each scan. What cannot be read has an error, and the others go on.

    Raises
    ------
    DataError
        If no truth is known.
    AnnotationFileError
        If the files cannot be written.
    """
    defaults = MeanTeacherNegativesSpec()
    least = defaults.negative_score if score is None else score
    folder = (root if out is None else out) / NEGATIVES
    names, mined = truth_series(root), []
    for number, name in enumerate(names):
        yield Progress(number, len(names), name)
        path, started = folder / f"{name}{SUFFIX}", time.monotonic()
        if _is_by(path, detector):
            mined.append(MinedScan(name, before=True))
            continue
        work = mine_misses(detector, root, [name], score=least, per_slice=defaults.negatives_per_slice)
        try:
            found = yield from within(work, number, len(names))
        except (UldError, OSError, RuntimeError, MemoryError) as error:
            mined.append(MinedScan(name, error=sentence_of(error)))
            continue
        # Another checkpoint's, of a scan on which this one misses nothing.
        path.unlink(missing_ok=True)
        write_misses(folder, found)
        seconds = round(time.monotonic() - started, 2)
        mined.append(MinedScan(name, str(path) if found else "", sum(map(len, found)), seconds=seconds))
    yield Progress(len(names), len(names), "Mined")
    return mined


def _is_by(path: Path, detector: LoadedDetector) -> bool:
    try:
        return path.exists() and read_findings(path).detector == detector.info.detector
    except AnnotationFileError:
        return False
