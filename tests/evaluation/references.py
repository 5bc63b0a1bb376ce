"""The protocols once more, as plainly as they can be written: loops, sets and fractions."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Corners = Sequence[float]


@dataclass(frozen=True)
class Unit:
    """An image or a volume: each detection's score and the lesions that it overlaps enough; the number of lesions."""

    scores: list[float]
    over: list[set[int]]
    lesions: int


def measure(a: Corners, plus: float = 0) -> Fraction:
    """Area or volume."""
    product, dims = Fraction(1), len(a) // 2
    for axis in range(dims):
        product *= Fraction(a[dims + axis]) - Fraction(a[axis]) + Fraction(plus)
    return product


def shared(a: Corners, b: Corners, plus: float = 0) -> Fraction:
    """Area or volume that two boxes share."""
    product, dims = Fraction(1), len(a) // 2
    for axis in range(dims):
        low, high = max(a[axis], b[axis]), min(a[dims + axis], b[dims + axis])
        product *= max(Fraction(high) - Fraction(low) + Fraction(plus), Fraction(0))
    return product


def iou(a: Corners, b: Corners, plus: float = 0) -> Fraction:
    union = measure(a, plus) + measure(b, plus) - shared(a, b, plus)
    return shared(a, b, plus) / union if union else Fraction(0)


def iobb(detected: Corners, truth: Corners, plus: float = 0) -> Fraction:
    size = measure(detected, plus)
    return shared(detected, truth, plus) / size if size else Fraction(0)


def p3d(tracklet: dict[int, Corners], lesion: tuple[int, Corners]) -> Fraction:
    native, box = lesion
    return iou(tracklet[native], box) if native in tracklet else Fraction(0)


def thresholds(units: list[Unit]) -> list[float]:
    return sorted({score for unit in units for score in unit.scores}, reverse=True)


def found(unit: Unit, threshold: float) -> int:
    """Lesions that a detection from this score on overlaps enough."""
    reached: set[int] = set()
    for score, over in zip(unit.scores, unit.over, strict=True):
        if score >= threshold:
            reached |= over
    return len(reached)


def false(unit: Unit, threshold: float) -> int:
    return sum(score >= threshold and not over for score, over in zip(unit.scores, unit.over, strict=True))


def froc(units: list[Unit], rates: Sequence[float], *, from_origin: bool = True) -> list[Fraction]:
    """Sensitivity at each rate, interpolated between the points of all distinct scores."""
    lesions = sum(unit.lesions for unit in units)
    points = [(Fraction(0), Fraction(0))]
    for threshold in thresholds(units):
        hit = sum(found(unit, threshold) for unit in units)
        wrong = sum(false(unit, threshold) for unit in units)
        points.append((Fraction(wrong, len(units)), Fraction(hit, lesions) if lesions else Fraction(0)))
    return [read(points, Fraction(rate), from_origin) for rate in rates]


def read(points: list[tuple[Fraction, Fraction]], rate: Fraction, from_origin: bool) -> Fraction:
    if not from_origin and (len(points) == 1 or rate < points[1][0]):
        return Fraction(0)
    before = [point for point in points if point[0] <= rate][-1]
    after = [point for point in points if point[0] > rate]
    if not after:
        return before[1]
    share = (rate - before[0]) / (after[0][0] - before[0])
    return before[1] + share * (after[0][1] - before[1])


def ap(units: list[Unit], *, by_lesion: bool) -> Fraction:
    """The area under the best precision at or beyond each recall."""
    lesions = sum(unit.lesions for unit in units)
    points = []
    for threshold in thresholds(units):
        hit = sum(found(unit, threshold) for unit in units)
        if by_lesion:
            right = hit
            counted = sum(
                max(len(o), 1) for u in units for s, o in zip(u.scores, u.over, strict=True) if s >= threshold
            )
        else:
            right = sum(first_hitters(unit, threshold) for unit in units)
            counted = sum(score >= threshold for unit in units for score in unit.scores)
        points.append((Fraction(hit, lesions) if lesions else Fraction(0), Fraction(right, counted)))
    area, before = Fraction(0), Fraction(0)
    for number, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[number:])
        before = recall
    return area


def first_hitters(unit: Unit, threshold: float) -> int:
    """Detections from this score on that hit a lesion which none before them hit."""
    taken: set[int] = set()
    count = 0
    for row in sorted(range(len(unit.scores)), key=lambda row: -unit.scores[row]):
        if unit.scores[row] >= threshold:
            count += bool(unit.over[row] - taken)
            taken |= unit.over[row]
    return count


def coco_ap(
    images: list[tuple[list[float], list[Corners], list[Corners]]], threshold: float, recalls: Sequence[float]
) -> float:
    """COCO's average precision at one threshold: scores, detected boxes and true boxes of each image."""
    hits = []
    for scores, detected, truth in images:
        taken: set[int] = set()
        for row in sorted(range(len(scores)), key=lambda row: -scores[row])[:100]:
            best, chosen = threshold, None
            for lesion, box in enumerate(truth):
                overlap = float(iou(detected[row], box))
                if lesion not in taken and overlap >= best:
                    best, chosen = overlap, lesion
            if chosen is not None:
                taken.add(chosen)
            hits.append((scores[row], chosen is not None))
    hits.sort(key=lambda hit: -hit[0])
    lesions = sum(len(truth) for _, _, truth in images)
    right, points = 0, []
    for number, (_, hit) in enumerate(hits, 1):
        right += hit
        points.append((right / lesions if lesions else 0.0, right / number))
    return sum(max([p for reached, p in points if reached >= recall], default=0.0) for recall in recalls) / len(recalls)
