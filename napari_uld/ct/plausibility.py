"""Whether values can be Hounsfield units at all: one check for DICOM and image files alike.

A CT's values have signatures that others lack: air or tissue, noise that reaches some tens of HU, nothing far below
air. What has another's signature is refused by its name; in doubt a scan is opened.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_uld.errors import UnsupportedScanError

# Non-negative values of which there are no more different ones are labels or grey levels.
MOST_LABELS = 256
# What is darker is air, what is brighter tissue (HU): a scan that has both is one.
_AIR, _TISSUE = -500, -200
# Only padding and what metal does lie below the first or above the second (HU); one of them alone may be another
# habit of writing, further off not.
_BELOW_AIR, _METAL, _FAR_BELOW = -1500, 5000, -5000
_MOST_AMISS, _MOST_METAL = 0.03, 0.5
# A value below air is padding where it takes more than this share.
_LEAST_PADDING = 0.005
# Values that all lie this near to zero are water, or no HU.
_NEAR_ZERO = 40
# What water's noise looks like: its standard deviation, how far it reaches, and how lopsided it may be.
_LEAST_NOISE, _SHORTEST_TAIL, _LONGEST_TAIL, _LOPSIDED = 2.5, 2.2, 6.5, 1.6
# So few values are labels however they lie; where more of them lie in patches, neighbours being equal so often, too.
_FEW, _FLAT = 4, 0.8
# Grey levels: nearly all of them taken, by values that spread so far ...
_ALL_LEVELS, _GREY_SPREAD = 225, 45
# The least brightest level of a grey image with a background of 0.
_BRIGHT = 160
# ... or, with air's value added, cut off at the lowest by this share, with most others so far from it (HU).
_DARKEST, _CUT_OFF, _APART = -1000, 0.05, 60
# Fewer voxels tell less: of grey levels, and of labels.
_FEWEST_GREY, _FEWEST_LABELS = 1000, 16
# Looked at first; only what is suspicious is looked at as a whole.
_SAMPLE = 1 << 18


@dataclass(frozen=True, eq=False)
class _Values:
    """Values and how often each occurs, ascending.

    `steady` is the share of equal ones among neighbours along x, pairs of the commonest value left out.
    """

    values: np.ndarray
    counts: np.ndarray
    steady: float

    @property
    def low(self) -> int:
        return int(self.values[0])

    @property
    def high(self) -> int:
        return int(self.values[-1])

    @property
    def is_flat(self) -> bool:
        """Tell labels, which lie in patches, from anything that a scanner's noise went through."""
        return len(self.values) <= MOST_LABELS and self.steady > _FLAT

    def spread(self) -> float:
        """Give the standard deviation."""
        mean = np.average(self.values, weights=self.counts)
        return float(np.sqrt(np.average((self.values - mean) ** 2, weights=self.counts)))

    def share(self, chosen: np.ndarray) -> float:
        """Give the share of the voxels whose value is chosen."""
        return float(self.counts[chosen].sum() / self.counts.sum())


def check_hu(hu: np.ndarray, source: Path) -> None:
    """Refuse values that cannot be Hounsfield units.

    Parameters
    ----------
    hu
        int16, any shape; the last axis runs along a row.
    source
        What messages call the scan.

    Raises
    ------
    UnsupportedScanError
        If it is a label mask, a grey image, a statistics map or noise; which is said.
    """
    hu = np.atleast_2d(hu)
    # Odd, so that not every sampled row is the same one of each slice.
    step = (hu.size // _SAMPLE) | 1
    sampled = np.arange(0, hu.size // hu.shape[-1], step)
    if step > 1 and _what_else(_counted(hu[np.unravel_index(sampled, hu.shape[:-1])])) is None:
        return
    found = _counted(hu.reshape(-1, hu.shape[-1]))
    if what := _what_else(found):
        raise UnsupportedScanError(
            f"{source} looks like {what} (values from {found.low} to {found.high}); a CT in Hounsfield units is "
            "required: open the scan "
            + ("the mask belongs to" if "mask" in what else "itself, not what was made of it")
        )


def _counted(rows: np.ndarray) -> _Values:
    counts = np.zeros(1 << 16, np.int64)
    # In parts: counting takes several times the memory of what is counted.
    parts = np.array_split(rows, rows.size // (1 << 22) + 1)
    for part in parts:
        counts += np.bincount(
            (np.ascontiguousarray(part).view(np.uint16) ^ np.uint16(0x8000)).ravel(), minlength=1 << 16
        )
    background = int(counts.argmax()) - 0x8000
    equal = pairs = 0
    for part in parts:
        beside = part[:, 1:] == part[:, :-1]
        is_background = beside & (part[:, 1:] == background)
        equal += int(beside.sum() - is_background.sum())
        pairs += int(beside.size - is_background.sum())
    values = np.flatnonzero(counts)
    return _Values(values - 0x8000, counts[values], equal / max(1, pairs))


def _what_else(found: _Values) -> str | None:
    """Name what the values are instead of Hounsfield units; None where they may be those."""
    values = found.values
    if found.low <= _AIR and found.high >= _TISSUE:
        return _noise(found)
    if len(values) == 1:
        # Outside of the body a slice may hold nothing but air.
        return None if found.high <= _AIR else "a label mask or an empty image: all values are the same"
    if found.low >= 0:
        return _labels_or_grey(found) or _noise(found)
    if max(-found.low, found.high) <= _NEAR_ZERO:
        return _near_zero(found)
    # A mask or grey image to which an intercept was added.
    if len(values) <= _FEW or found.is_flat:
        return f"a label mask: only {len(values)} different values"
    if found.high - found.low <= 255 and found.low <= _DARKEST and _is_cut_off(found):
        return "an 8-bit grey image: its values take no more than 256 levels and are cut off at the lowest"
    return _noise(found)


def _is_cut_off(found: _Values) -> bool:
    """Tell whether many values are the lowest and most others lie far from it, as after windowing."""
    if found.counts.sum() < _FEWEST_GREY:
        return False
    is_far = found.values >= found.low + _APART
    return found.counts[0] >= _CUT_OFF * found.counts.sum() and found.share(is_far) >= 0.5


def _labels_or_grey(found: _Values) -> str | None:
    """Tell labels and grey levels from tissue, which may have few values and none below 0 as well."""
    labels, voxels = len(found.values), int(found.counts.sum())
    mask = "a label mask: few values and none negative"
    if found.high <= 1:
        return mask
    if labels > MOST_LABELS or voxels < _FEWEST_LABELS:
        return None
    if labels <= _FEW or found.is_flat:
        return mask
    # A background of 0 is what both have and what a piece of tissue has not: there 0 is the rarest value.
    has_background = found.low == 0 and found.counts[0] * labels >= voxels
    if found.high <= 255 and found.steady < _FLAT / 2 and voxels >= _FEWEST_GREY:
        fills_levels = found.high - found.low >= _ALL_LEVELS and found.spread() >= _GREY_SPREAD
        # An organ cut out of a scan has that background too, and its tissue's few HU.
        is_grey = fills_levels or (has_background and found.high >= _BRIGHT)
        return "an 8-bit grey image: its values lie between 0 and 255" if is_grey else None
    return mask if has_background and (labels <= 64 or found.high > 255) else None


def _near_zero(found: _Values) -> str | None:
    """Tell water, which has a scanner's noise, from statistics, differences and normalised values."""
    at = np.repeat(found.values, np.maximum(1, found.counts * 10_000 // found.counts.sum()))
    middle = float(np.median(at))
    noise = 1.4826 * float(np.median(np.abs(at - middle)))
    tails = (found.high - middle, middle - found.low)
    beside = found.counts[(found.values == -1) | (found.values == 1)]
    spike = found.counts[found.values == 0].sum() > 2 * beside.mean() if beside.size else False
    is_water = (
        noise >= _LEAST_NOISE
        and not spike
        and max(tails) <= _LOPSIDED * min(tails)
        and _SHORTEST_TAIL * noise <= max(tails) <= _LONGEST_TAIL * noise
    )
    if is_water:
        return None
    if found.is_flat or len(found.values) <= _FEW:
        return f"a label mask: only {len(found.values)} different values"
    return "a statistics map, a difference or normalised values: all of them lie about 0, without a scanner's noise"


def _noise(found: _Values) -> str | None:
    """Tell numbers without meaning, such as those in a wrong byte order, from a scan with padding and metal."""
    is_below = found.values < _BELOW_AIR
    # One or two values may stand for what was not measured.
    padding = np.zeros(len(found.values), bool)
    padding[np.argsort(np.where(is_below, found.counts, 0))[-2:]] = True
    padding &= is_below & (found.counts > _LEAST_PADDING * found.counts.sum())
    measured = _Values(found.values[~padding], found.counts[~padding], found.steady)
    if not len(measured.values):
        return "an empty image: padding alone"
    below, far_below, above = (
        measured.share(chosen)
        for chosen in (measured.values < _BELOW_AIR, measured.values < _FAR_BELOW, measured.values > _METAL)
    )
    if far_below > _MOST_AMISS or min(below, above) > _MOST_AMISS:
        return f"noise, or numbers in a wrong byte order or unit: many lie below {_BELOW_AIR}"
    if above > _MOST_METAL:
        return f"a grey image, or numbers in a wrong byte order or unit: most lie above {_METAL}"
    return None
