"""What several systems are sure of on a few slices, as in the supplement of the bounding-map paper (its fig. 1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.windows import to_uint8
from napari_uld.errors import DataError
from napari_uld.inference.catalogue import find_checkpoint, read_info
from napari_uld.inference.slabs import body_box
from napari_uld.progress import Progress, Work

from ..data.key_slices import KeySlice, Split
from ..evaluate import Found, evaluate_subject
from ..subjects import is_saved
from .gallery import draw_box

# As there.
TRUE, FOUND = "#2FD05F", "#FF3B28"
# Of a slice, in inches.
PANEL = 3.0


def draw_sure(
    subjects: Sequence[str],
    data: Path,
    out: Path,
    *,
    split: Split,
    above: float,
    count: int,
    seed: int = 0,
    device: str = "auto",
) -> Work[None]:
    """Draw `count` key slices, drawn at random, with all that each system finds there from a score of `above` on.

    Slices on which no system is so sure of anything are not among them. Beside each system stands what of all
    slices' lesions it finds so surely, and how many false positives are as sure.

    Parameters
    ----------
    subjects
        Checkpoints (paths or bundled names) or saved boxes, see `evaluate_subject`.
    data
        Folder in DeepLesion's layout.
    out
        The picture's file.

    Raises
    ------
    UldError
        If a subject or the data cannot be read, or no system is so sure of anything.
    """
    found: dict[str, Found] = {}
    for number, subject in enumerate(subjects):
        of_subject = yield from _found(subject, data, split, device)
        name = _name(subject)
        found[name if name not in found else f"{name} ({number + 1})"] = of_subject
    shown = choose(found, above, count, seed)
    yield Progress(len(subjects), len(subjects), "Drawing")
    # Without the library's version in it, the same detections give the same file.
    draw(shown, found, data, above).savefig(out, format="png", dpi=110, metadata={"Software": None})


def choose(found: Mapping[str, Found], above: float, count: int, seed: int) -> list[KeySlice]:
    """At most `count` slices that every system was judged on and where one is so sure of something, in their order.

    Raises
    ------
    DataError
        If there is none.
    """
    first, *others = (_places(each) for each in found.values())
    common = [place for place in first if all(place in each for each in others)]
    sure = [
        place for place in common if any(len(_sure(each, _places(each)[place], above)[1]) for each in found.values())
    ]
    if not sure:
        raise DataError(f"On no slice does any of them find anything with a score of {above:g}: give a lower one")
    drawn = np.random.default_rng(seed).permutation(len(sure))[:count]
    slices = next(iter(found.values())).slices
    return [slices[first[sure[row]]] for row in np.sort(drawn)]


def tally(found: Found, above: float) -> str:
    """What of all lesions is found from a score on, and how much else."""
    matches = found.matches
    lesions = np.concatenate([np.zeros(0), *matches.lesion_scores])
    false = int((matches.false_positive & (matches.scores >= above)).sum())
    return (
        f"on all {len(found.slices)} slices: {int((lesions >= above).sum())} of {len(lesions)} lesions,\n"
        f"{false} false positives"
    )


def draw(shown: Sequence[KeySlice], found: Mapping[str, Found], data: Path, above: float) -> Figure:
    """Draw a row for each system, a column for each slice."""
    figure = Figure(figsize=(PANEL * len(shown), (PANEL + 0.3) * len(found) + 0.6), layout="constrained")
    figure.suptitle(f"green: true, red: found with a score of {above:g} or more")
    tiles = figure.subplots(len(found), len(shown), squeeze=False)
    for column, key in enumerate(shown):
        hu = read_slices(data, key.series, [key.number]).hu[0]
        for row, (name, of_system) in enumerate(found.items()):
            axes = tiles[row, column]
            boxes, scores = _sure(of_system, _places(of_system)[key.series, key.number], above)
            _draw_slice(axes, hu, key, boxes, scores)
            if row == 0:
                axes.set_title(f"{key.series}, slice {key.number}", fontsize="small")
            if column == 0:
                axes.set_ylabel(f"{name}\n{tally(of_system, above)}", fontsize="small")
    return figure


def _draw_slice(axes: Axes, hu: np.ndarray, key: KeySlice, boxes: np.ndarray, scores: np.ndarray) -> None:
    """The patient on a slice, the true boxes, and what was found with its scores."""
    top, bottom, left, right = body_box(hu[None], key.spacing[1:])
    axes.imshow(to_uint8(hu, key.window), cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set(xticks=[], yticks=[], xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
    for box in key.boxes:
        draw_box(axes, box, TRUE, 1.6)
    for box, score in zip(boxes, scores, strict=True):
        draw_box(axes, box, FOUND, 1.2, text=f"{score:.2f}")


def _found(subject: str, data: Path, split: Split, device: str) -> Work[Found]:
    """What a system finds on all key slices, matched with their lesions."""
    kept: list[Found] = []

    def keep(found: Found) -> Work[None]:
        kept.append(found)
        yield Progress(1, 1, "Found")

    yield from evaluate_subject(subject, data, split, device=device, show=keep)
    return kept[0]


def _places(found: Found) -> dict[tuple[str, int], int]:
    """Each slice's place among those of a system."""
    return {(key.series, key.number): place for place, key in enumerate(found.slices)}


def _sure(found: Found, place: int, above: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) on a slice from a score on, best first, and their scores."""
    boxes, scores, _ = found.on_slice(place)
    return boxes[scores >= above], scores[scores >= above]


def _name(subject: str) -> str:
    return Path(subject).stem if is_saved(subject) else read_info(find_checkpoint(subject)).title
