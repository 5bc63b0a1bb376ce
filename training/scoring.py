"""What a detector reached by a protocol: sensitivities with intervals, average precision, parts by size and type."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from napari_uld.errors import DataError
from napari_uld.evaluation.average_precision import average_precision, bootstrap_ap
from napari_uld.evaluation.by_size import froc_of_each
from napari_uld.evaluation.coco import CocoAp
from napari_uld.evaluation.comparison import paired_difference
from napari_uld.evaluation.froc import Froc, bootstrap_froc, froc, interval
from napari_uld.evaluation.matching import Matches
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.evaluation.protocols import Protocol as Judging
from napari_uld.lesions.annotations import LesionType

IMAGE = PROTOCOLS["image"]


class Unit(Protocol):
    """An image or a volume that is scored."""

    @property
    def patient(self) -> str:
        """The patient, by which data are resampled."""

    @property
    def diameters(self) -> np.ndarray:
        """(n,) long diameters of its lesions in mm, NaN where nobody measured."""

    @property
    def types(self) -> tuple[LesionType, ...]:
        """Coarse types of its lesions, () where none is known."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the lesions, with the false positives of all detections.

    Parameters
    ----------
    lesions
        How many they are.
    curve
        Their FROC.
    at_bins_rate
        Sensitivity at the rate at which the protocol's papers give it by size.
    """

    lesions: int
    curve: Froc
    at_bins_rate: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "lesions": self.lesions,
            "sensitivity": _rounded(self.curve.values),
            "average": _round(self.curve.average),
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a detector reached on a data set.

    Parameters
    ----------
    curve
        The FROC.
    low, high
        Bounds of the 95% bootstrap interval (patients resampled) at each rate, and of the average last.
    ap
        Average precision.
    images, lesions, patients
        Size of the data set; volumes where the protocol counts these.
    left_out
        A line about what of the data was left out, "" for nothing.
    ap_interval
        Bounds of AP's 95% bootstrap interval.
    judging
        The protocol.
    boxes
        Whether the boxes are tight or padded, or what else is to be said of them.
    by_size, by_type
        Parts of the lesions, where their sizes and types are known.
    coco
        COCO's average precision, where it was asked for.
    lesion_free
        How many of the images hold no lesion.
    draws
        (samples, rates + 2) bootstrapped sensitivities, their average, and AP: of the same patients, sample by sample,
        for whatever is scored on the same `units`.
    units
        Patient and number of lesions of every image.
    """

    curve: Froc
    low: np.ndarray
    high: np.ndarray
    ap: float
    images: int
    lesions: int
    patients: int
    left_out: str = ""
    ap_interval: tuple[float, float] = (0.0, 0.0)
    judging: Judging = IMAGE
    boxes: str = ""
    by_size: dict[str, Part] = field(default_factory=dict)
    by_type: dict[str, Part] = field(default_factory=dict)
    coco: CocoAp | None = None
    lesion_free: int = 0
    draws: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    units: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON and for a checkpoint's metadata."""
        content: dict[str, Any] = {
            "protocol": self.judging.name,
            "fp_per_image": list(self.curve.rates),
            "sensitivity": _rounded(self.curve.values),
            "scores": [_round(v) if np.isfinite(v) else None for v in self.curve.scores],
            "true_positives": self.curve.found.astype(int).tolist(),
            "false_positives": self.curve.false.astype(int).tolist(),
            "false_negatives": self.curve.missed.astype(int).tolist(),
            "average": _round(self.curve.average),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "ap": _round(self.ap),
            "ap_low": _round(self.ap_interval[0]),
            "ap_high": _round(self.ap_interval[1]),
            self.judging.counts: self.images,
            "lesions": self.lesions,
            "patients": self.patients,
            "lesion_free": self.lesion_free,
        }
        if self.coco is not None:
            content |= {"ap50": _round(self.coco.ap50), "ap75": _round(self.coco.ap75)}
        for name, parts in (("by_size", self.by_size), ("by_type", self.by_type)):
            if parts:
                content[name] = {part: reached.to_dict() for part, reached in parts.items()}
        return content | {name: text for name, text in (("boxes", self.boxes), ("left_out", self.left_out)) if text}


def score(
    matches: Matches,
    units: Sequence[Unit],
    rates: Sequence[float] | None = None,
    *,
    judging: Judging = IMAGE,
    coco: CocoAp | None = None,
) -> Evaluation:
    """FROC at `rates` (the protocol's own by default) and average precision, each with a bootstrap over patients.

    Where `coco` is given, it is the average precision, and has no interval.
    """
    rates = judging.rates if rates is None else rates
    patients = [unit.patient for unit in units]
    draws = bootstrap_froc(matches, patients, rates, from_origin=judging.from_origin)
    low, high = interval(draws)
    if coco is None:
        ap = average_precision(matches, by_lesion=judging.by_lesion)
        of_ap = bootstrap_ap(matches, patients, by_lesion=judging.by_lesion)
    else:
        ap, of_ap = coco.ap, np.full(len(draws), coco.ap)
    ap_low, ap_high = interval(of_ap)
    return Evaluation(
        curve=froc(matches, rates, from_origin=judging.from_origin),
        low=low,
        high=high,
        ap=ap,
        images=len(units),
        lesions=int(matches.lesions_per_image.sum()),
        patients=len(set(patients)),
        ap_interval=(float(ap_low), float(ap_high)),
        judging=judging,
        by_size=_parts(matches, judging.bins.of([unit.diameters for unit in units]), rates, judging),
        by_type=_parts(matches, _by_type(units, matches.lesions_per_image), rates, judging),
        coco=coco,
        lesion_free=int((matches.lesions_per_image == 0).sum()),
        draws=np.column_stack([draws, of_ap]),
        units=tuple(zip(patients, matches.lesions_per_image.tolist(), strict=True)),
    )


@dataclass(frozen=True)
class Difference:
    """How much better one is than the other, with a paired bootstrap over patients.

    Parameters
    ----------
    values, low, high
        At each rate, of the average and of AP: the difference, and bounds of its 95% interval.
    """

    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain numbers, for JSON: at each rate, then of the average, then of AP."""
        return {name: [_round(v) for v in getattr(self, name)] for name in ("values", "low", "high")}


def difference(ours: Evaluation, theirs: Evaluation) -> Difference:
    """Compare two detectors that were scored by one protocol on the same images or volumes.

    Raises
    ------
    DataError
        If they were not.
    """
    if ours.units != theirs.units:
        raise DataError(
            f"The one is scored on {ours.images} {ours.judging.counts} and {ours.lesions} lesions, the other on "
            f"{theirs.images} and {theirs.lesions}, and not the same: give what was made on the same scans"
        )
    reached = [np.array([*each.curve.values, each.curve.average, each.ap]) for each in (ours, theirs)]
    bounds = [paired_difference([our], [their]) for our, their in zip(ours.draws.T, theirs.draws.T, strict=True)]
    low, high = zip(*bounds, strict=True)
    return Difference(tuple((reached[0] - reached[1]).tolist()), low, high)


def _parts(
    matches: Matches, parts: dict[str, list[np.ndarray]], rates: Sequence[float], judging: Judging
) -> dict[str, Part]:
    """Curves of those parts that hold a lesion."""
    counts = {name: int(sum(each.sum() for each in chosen)) for name, chosen in parts.items()}
    held = {name: parts[name] for name, count in counts.items() if count}
    curves, at_rate = (
        froc_of_each(matches, held, asked, from_origin=judging.from_origin) for asked in (rates, [judging.bins.rate])
    )
    return {name: Part(counts[name], curves[name], float(at_rate[name].values[0])) for name in held}


def _by_type(units: Sequence[Unit], lesions: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Which lesions are of which type that is known."""
    return {
        lesion_type.name.lower(): [
            np.asarray([each is lesion_type for each in unit.types], bool) if unit.types else np.zeros(count, bool)
            for unit, count in zip(units, lesions, strict=True)
        ]
        for lesion_type in LesionType
        if lesion_type is not LesionType.UNKNOWN
    }


def _round(value: float) -> float:
    return round(float(value), 4)


def _rounded(values: np.ndarray) -> list[float]:
    return [_round(value) for value in values]
