"""What an experiment's run left: its matches, lesion by lesion, and what it reached."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.by_size import froc_by_size
from napari_uld.evaluation.froc import Froc, bootstrap_froc, froc, interval
from napari_uld.evaluation.matching import Matches
from napari_uld.files import replace_file

from ..data.key_slices import KeySlice
from ..data.sub_volumes import SubVolume
from ..evaluate import SCAN_RATES

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

    @cached_property
    def traced_curve(self) -> Froc:
        """FROC per scan, at the rates of the "end-to-end mining" paper."""
        return froc(self.matches, SCAN_RATES)

    @cached_property
    def traced_bootstrapped(self) -> np.ndarray:
        """(samples, rates + 1) of that curve and its average, with patients resampled as in `bootstrapped`."""
        return bootstrap_froc(self.matches, list(self.patients), SCAN_RATES)

    @cached_property
    def traced_ap(self) -> float:
        """Average precision of traced detections, lesion by lesion; where it was stored without repeats, by detection.

        They differ only where one box overlaps two lesions of a slice by half each.
        """
        return average_precision(self.matches, by_lesion=self.matches.repeats is not None)

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


def traced_result(matches: Matches, volumes: Sequence[SubVolume], facts: dict[str, Any]) -> Result:
    """The result of matching whole scans: each is an image; what it reached joins the facts."""
    unknown = tuple(np.full(len(volume.boxes), np.nan) for volume in volumes)
    result = Result(
        matches=matches,
        series=np.asarray([volume.series for volume in volumes]),
        numbers=np.zeros(len(volumes), int),
        patients=np.asarray([volume.patient for volume in volumes]),
        diameters=unknown,
        facts=facts,
    )
    low, high = interval(result.traced_bootstrapped)
    facts |= {
        "fp_per_scan": list(SCAN_RATES),
        "sensitivity": [round(float(value), 4) for value in result.traced_curve.values],
        "average": round(result.traced_curve.average, 4),
        "low": [round(float(value), 4) for value in low],
        "high": [round(float(value), 4) for value in high],
        "ap": round(result.traced_ap, 4),
        "scans": len(volumes),
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
