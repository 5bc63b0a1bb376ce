"""What an experiment's run left: its matches, lesion by lesion, and what it reached."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.by_size import froc_by_size, froc_of_each
from napari_uld.evaluation.froc import Froc, bootstrap_froc, froc, interval
from napari_uld.evaluation.matching import Matches
from napari_uld.evaluation.protocols import PROTOCOLS, Protocol
from napari_uld.files import replace_file

from ..data.key_slices import KeySlice
from ..scoring import Unit

COLUMNS = ("scores", "images", "hits", "false_positive", "lesions_per_image")


@dataclass(frozen=True, eq=False)
class Result:
    """A trained detector's matches on the test phantoms.

    Parameters
    ----------
    matches
        Its detections, matched with the whole truth.
    series, numbers, patients
        (images,) which slice each image is, and of whom.
    diameters
        One array per image: the long diameters of its lesions in mm.
    facts
        Recipe, seed, times and versions (`result.json`).
    """

    matches: Matches
    series: np.ndarray
    numbers: np.ndarray
    patients: np.ndarray
    diameters: tuple[np.ndarray, ...]
    facts: dict[str, Any]

    @classmethod
    def of(cls, matches: Matches, slices: list[KeySlice], facts: dict[str, Any]) -> "Result":
        """The result of matching `slices`; what it reached joins the facts."""
        result = cls(
            matches=matches,
            series=np.asarray([key.series for key in slices]),
            numbers=np.asarray([key.number for key in slices]),
            patients=np.asarray([key.patient for key in slices]),
            diameters=tuple(key.diameters for key in slices),
            facts=facts,
        )
        facts |= {
            "fp_per_image": list(result.curve.rates),
            "sensitivity": [round(float(value), 4) for value in result.curve.values],
            "average": round(result.curve.average, 4),
            "average_by_size": {name: round(curve.average, 4) for name, curve in result.by_size.items()},
            "images": len(slices),
            "lesions": int(matches.lesions_per_image.sum()),
            "patients": len(set(result.patients)),
        }
        return result

    @cached_property
    def curve(self) -> Froc:
        """FROC of all lesions."""
        return froc(self.matches)

    @cached_property
    def by_size(self) -> dict[str, Froc]:
        """FROC of small, middle and large lesions."""
        return froc_by_size(self.matches, self.diameters)

    @cached_property
    def bootstrapped(self) -> np.ndarray:
        """(samples,) average sensitivity with patients resampled: the same patients for every detector."""
        return bootstrap_froc(self.matches, list(self.patients))[:, -1]

    @property
    def judging(self) -> Protocol:
        """The protocol by which whole scans were scored."""
        return PROTOCOLS[self.facts.get("protocol", "p3d")]

    @cached_property
    def scan_curve(self) -> Froc:
        """FROC per scan, at the protocol's rates."""
        return froc(self.matches, self.judging.rates)

    @cached_property
    def scan_bootstrapped(self) -> np.ndarray:
        """(samples, rates + 1) of that curve and its average, with patients resampled as in `bootstrapped`."""
        return bootstrap_froc(self.matches, list(self.patients), self.judging.rates)

    @cached_property
    def scan_ap(self) -> float:
        """Average precision in whole scans as the protocol has it; stored without repeats, by detection.

        Lesion by lesion differs only where one box overlaps two lesions of a slice by half each.
        """
        return average_precision(self.matches, by_lesion=self.judging.by_lesion and self.matches.repeats is not None)

    @cached_property
    def scan_by_size(self) -> dict[str, tuple[int, float]]:
        """By the protocol's bins, how many lesions there are and the sensitivity at the rate that its papers give."""
        bins = self.judging.bins
        chosen = bins.of(self.diameters)
        curves = froc_of_each(self.matches, chosen, [bins.rate])
        return {name: (int(sum(each.sum() for each in chosen[name])), float(curves[name].values[0])) for name in chosen}

    def same_images(self, other: "Result") -> bool:
        """Whether both were scored on the same slices."""
        return np.array_equal(self.series, other.series) and np.array_equal(self.numbers, other.numbers)

    def save(self, arrays: Path, facts: Path) -> None:
        """Write both files; that of the facts last: where it is, the result is complete."""
        columns = {name: getattr(self.matches, name) for name in COLUMNS}
        columns |= {"lesion_scores": _joined(self.matches.lesion_scores), "diameters": _joined(self.diameters)}
        if self.matches.repeats is not None:
            columns["repeats"] = self.matches.repeats
        columns |= {"series": self.series, "numbers": self.numbers, "patients": self.patients}
        replace_file(arrays, lambda partial: _write_arrays(partial, columns))
        write_json(facts, self.facts)


def scan_result(
    matches: Matches, scans: Sequence[Unit], names: Sequence[str], facts: dict[str, Any], judging: Protocol
) -> Result:
    """The result of matching whole scans by a protocol: each is an image; what it reached joins the facts."""
    facts |= {"protocol": judging.name, "fp_per_scan": list(judging.rates)}
    result = Result(
        matches=matches,
        series=np.asarray(names),
        numbers=np.zeros(len(scans), int),
        patients=np.asarray([scan.patient for scan in scans]),
        diameters=tuple(scan.diameters for scan in scans),
        facts=facts,
    )
    low, high = interval(result.scan_bootstrapped)
    facts |= {
        "sensitivity": [round(float(value), 4) for value in result.scan_curve.values],
        "average": round(result.scan_curve.average, 4),
        "low": [round(float(value), 4) for value in low],
        "high": [round(float(value), 4) for value in high],
        "ap": round(result.scan_ap, 4),
        "scans": len(scans),
        "lesions": int(matches.lesions_per_image.sum()),
        "patients": len(set(result.patients)),
    }
    return result


def load_result(arrays: Path, facts: Path) -> Result:
    """Read what `Result.save` wrote."""
    with np.load(arrays) as stored:
        ends = np.cumsum(stored["lesions_per_image"])[:-1]
        matches = Matches(
            **{name: stored[name] for name in COLUMNS},
            lesion_scores=tuple(np.split(stored["lesion_scores"], ends)),
            repeats=stored.get("repeats"),
        )
        return Result(
            matches=matches,
            series=stored["series"],
            numbers=stored["numbers"],
            patients=stored["patients"],
            diameters=tuple(np.split(stored["diameters"], ends)),
            facts=json.loads(facts.read_bytes()),
        )


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    replace_file(path, lambda partial: partial.write_bytes((json.dumps(content, indent=1) + "\n").encode()))


def _write_arrays(path: Path, columns: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # given a path, numpy would add a suffix of its own
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]


def _joined(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])
