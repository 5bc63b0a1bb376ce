"""What detectors found in the open scan: one finding of one of them, and which findings are of the same lesion."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_uld.lesions.findings import DEFAULT_THRESHOLD, Box, Findings, SliceBoxes, as_box
from napari_uld.lesions.rle import Rle
from napari_uld.lesions.same_lesion import traced_iou

# Letters of a checkpoint's hash that tell two of one method apart.
HASH_LETTERS = 4


@dataclass(frozen=True, eq=False)
class FindingRef:
    """One finding: whose it is, and which of them."""

    findings: Findings
    index: int

    @property
    def id(self) -> str:
        """Its stable id."""
        return self.findings.ids[self.index]

    @property
    def detector(self) -> str:
        """What found it: method and checkpoint hash."""
        return self.findings.detector

    @property
    def score(self) -> float:
        """How sure its detector is."""
        return float(self.findings.scores[self.index])

    @property
    def columns(self) -> Mapping[str, float]:
        """Its other scores by name."""
        return {name: float(values[self.index]) for name, values in self.findings.columns.items()}

    @property
    def native(self) -> int:
        """Number of its key slice in the scan's files."""
        return int(self.findings.key_slices[self.index])

    @property
    def box(self) -> Box:
        """Its box on the key slice."""
        return as_box(self.findings.boxes[self.index])

    @property
    def boxes(self) -> SliceBoxes:
        """Its box on every slice that it was traced through, the key slice included."""
        return {**self.findings.slice_boxes[self.index], self.native: self.box}

    @property
    def with_margin(self) -> SliceBoxes:
        """The same boxes as an annotation has them, with DeepLesion's margin."""
        return self.findings.with_margin[self.index]

    @property
    def tight(self) -> bool:
        """Whether its box lies about the lesion itself, without DeepLesion's margin."""
        return self.findings.tight

    @property
    def mask(self) -> Rle | None:
        """Its mask on the key slice, where the detector predicts masks."""
        return self.findings.masks[self.index]

    @property
    def points(self) -> np.ndarray | None:
        """(n, 3) points on its surface, (x, y, number of a slice), where the detector predicts them."""
        return self.findings.points[self.index]

    @property
    def first_points(self) -> np.ndarray | None:
        """(n, 3) where these lay before its detector refined them, where it says so."""
        first = self.findings.first_points
        return None if first is None else first[self.index]

    @property
    def sureness(self) -> float:
        """Its score, made comparable between detectors: -1 at a score of 0, 0 at the operating point, 1 at 1."""
        point = self.findings.operating_point
        point = DEFAULT_THRESHOLD if point is None else point
        beyond = self.score - point
        return beyond / max(1 - point, 1e-6) if beyond >= 0 else beyond / point


def shown(findings: Iterable[Findings], threshold: Callable[[Findings], float]) -> list[FindingRef]:
    """Give what detectors found from their thresholds on, without what was mined as no lesion."""
    return [
        FindingRef(one, int(index))
        for one in findings
        for index in np.flatnonzero((one.scores >= threshold(one)) & ~one.negative)
    ]


def same_as(markings: Sequence[SliceBoxes], found: Sequence[FindingRef]) -> dict[int, int]:
    """For each finding (by its place) that is the same lesion as one of `markings` the one that it overlaps most."""
    best: dict[int, tuple[float, int]] = {}
    for (marking, i), overlap in traced_iou(markings, [ref.with_margin for ref in found]).items():
        best[i] = max(best.get(i, (0.0, -1)), (overlap, marking))
    return {i: marking for i, (_, marking) in best.items()}


def lesions_of(found: Sequence[FindingRef]) -> list[list[FindingRef]]:
    """Put findings of several detectors that are the same lesion together, the surest first.

    What one detector calls two lesions stays two, and each is the same as the surest of its lesion, not as some other.
    """
    detectors = {ref.detector for ref in found}
    ordered = sorted(found, key=lambda ref: -ref.sureness)
    overlaps = _between(ordered) if len(detectors) > 1 else {}
    lesions: dict[int, list[FindingRef]] = {}
    for i, ref in enumerate(ordered):
        fitting = [
            (overlap, surest)
            for surest, overlap in overlaps.get(i, ())
            if surest in lesions and all(other.detector != ref.detector for other in lesions[surest])
        ]
        if fitting:
            lesions[max(fitting)[1]].append(ref)
        else:
            lesions[i] = [ref]
    return list(lesions.values())


def _between(ordered: Sequence[FindingRef]) -> Mapping[int, list[tuple[int, float]]]:
    """For each finding the surer ones of other detectors that are the same lesion, with their overlap."""
    boxes = [ref.with_margin for ref in ordered]
    surer: dict[int, list[tuple[int, float]]] = {}
    for (i, j), overlap in traced_iou(boxes, boxes).items():
        if i < j and ordered[i].detector != ordered[j].detector:
            surer.setdefault(j, []).append((i, overlap))
    return surer


def said_scores(score: float | None, columns: Mapping[str, float]) -> str:
    """Say all scores of a finding: of a hard negative S1, its detector's, and S2, its mask's overlap."""
    said = [] if score is None else [f"S1 {score:.2f}" if "s2" in columns else f"{score:.2f}"]
    return "  ".join([*said, *(f"{'S2' if name == 's2' else name} {value:.2f}" for name, value in columns.items())])


def short_names(detectors: Iterable[str]) -> dict[str, str]:
    """Name each detector for a person: by its method, and by its checkpoint too where another has that method."""
    methods = {detector: detector.rpartition(" ")[0] or detector for detector in detectors}
    often = list(methods.values())
    return {
        detector: method if often.count(method) == 1 else f"{method} {detector.rpartition(' ')[2][:HASH_LETTERS]}"
        for detector, method in methods.items()
    }
