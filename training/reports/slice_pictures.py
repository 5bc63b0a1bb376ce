"""What several systems are sure of on a few slices, as in the supplement of the bounding-map paper (its fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.windows import to_uint8
from napari_uld.errors import DataError
from napari_uld.inference.catalogue import find_checkpoint, read_info
from napari_uld.inference.slabs import body_box
from napari_uld.lesions.findings_file import SUFFIX
from napari_uld.progress import Progress, Work

from ..data.key_slices import KeySlice, Split
from ..evaluate import OnSlices, find_on_slices
from ..subjects import is_saved
from .gallery import draw_box

# As there.
TRUE, FOUND = "#2FD05F", "#FF3B28"
# Of a slice, in inches: patients are wider than they are deep.
WIDTH, HEIGHT = 3.0, 2.5
# Letters of a system's name in a line beside its row.
LABEL = 30
# A slice: of which series, and its number.
SliceId = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Sure:
    """What a system is sure of on key slices.

    Parameters
    ----------
    seen
        All that it finds there.
    above
        The score from which on it is sure.
    """

    seen: OnSlices
    above: float

    @cached_property
    def rows(self) -> dict[SliceId, int]:
        """Each slice's place among those that it was judged on."""
        return {(key.series, key.number): row for row, key in enumerate(self.seen.found.slices)}

    @cached_property
    def somewhere(self) -> set[SliceId]:
        """The slices on which it is sure of something."""
        matches, slices = self.seen.found.matches, self.seen.found.slices
        chosen = np.unique(matches.images[matches.scores >= self.above])
        return {(slices[row].series, slices[row].number) for row in chosen}

    def on(self, place: SliceId) -> tuple[KeySlice, np.ndarray, np.ndarray]:
        """A slice with its lesions as the system is judged on them, boxes (n, 4), best first, and their scores."""
        row = self.rows[place]
        boxes, scores, _ = self.seen.found.on_slice(row)
        return self.seen.found.slices[row], boxes[scores >= self.above], scores[scores >= self.above]

    @property
    def tally(self) -> str:
        """What of all lesions it finds so surely, and how much else."""
        matches, slices = self.seen.found.matches, self.seen.found.slices
        lesions = np.concatenate([np.zeros(0), *matches.lesion_scores])
        false = int((matches.false_positive & (matches.scores >= self.above)).sum())
        of = f"{int((lesions >= self.above).sum())} of {len(lesions)} lesions"
        return f"{of} on {_several(len(slices), 'slice')},\n{_several(false, 'false positive')}"


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
    """Draw `count` key slices, drawn at random, with what each system finds there from a score of `above` on.

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
    if data.is_file():
        raise DataError(f"{data} holds no slices to draw: give a folder in DeepLesion's layout")
    systems: dict[str, Sure] = {}
    for number, subject in enumerate(subjects):
        seen = yield from find_on_slices(subject, data, split, device=device)
        name = _name(subject)
        systems[name if name not in systems else f"{name} ({number + 1})"] = Sure(seen, above)
    shown = choose([*systems.values()], count, seed)
    yield Progress(len(subjects), len(subjects), "Drawing")
    # Without the library's version in it, the same detections give the same file.
    draw(shown, systems, data).savefig(out, format="png", dpi=110, metadata={"Software": None})


def choose(systems: Sequence[Sure], count: int, seed: int) -> list[SliceId]:
    """At most `count` slices that every system was judged on and where one is sure of something, in the data's order.

    Raises
    ------
    DataError
        If there is none.
    """
    first, *others = systems
    common = [place for place in first.rows if all(place in each.rows for each in others)]
    if not common:
        raise DataError("They have no slice in common: give findings of the same scans")
    sure = [place for place in common if any(place in each.somewhere for each in systems)]
    if not sure:
        raise DataError(f"On no slice does any of them find anything with a score of {first.above:g}: give a lower one")
    drawn = np.random.default_rng(seed).permutation(len(sure))[:count]
    return [sure[row] for row in np.sort(drawn)]


def draw(shown: Sequence[SliceId], systems: Mapping[str, Sure], data: Path) -> Figure:
    """Draw a row for each system, a column for each slice."""
    figure = Figure(figsize=(WIDTH * len(shown), HEIGHT * len(systems) + 0.6), layout="constrained")
    above = next(iter(systems.values())).above
    figure.suptitle(f"green: true, red: found with a score of {above:g} or more")
    tiles = figure.subplots(len(systems), len(shown), squeeze=False)
    for column, (series, number) in enumerate(shown):
        hu = read_slices(data, series, [number]).hu[0]
        for row, (name, system) in enumerate(systems.items()):
            axes = tiles[row, column]
            _draw_slice(axes, hu, *system.on((series, number)))
            if row == 0:
                axes.set_title(f"{series}, slice {number}", fontsize="small")
            if column == 0:
                axes.set_ylabel(f"{fill(name, LABEL)}\n{system.tally}", fontsize="small")
    return figure


def _draw_slice(axes: Axes, hu: np.ndarray, key: KeySlice, boxes: np.ndarray, scores: np.ndarray) -> None:
    """The patient on a slice, the true boxes, and what was found with its scores."""
    top, bottom, left, right = body_box(hu[None], key.spacing[1:])
    # What lies beside the patient is seen, too.
    every = np.vstack([key.boxes, boxes, [[left, top, right - 1, bottom - 1]]])
    (left, top), (right, bottom) = every[:, :2].min(axis=0), every[:, 2:].max(axis=0)
    axes.imshow(to_uint8(hu, key.window), cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set(xticks=[], yticks=[], xlim=(left - 0.5, right + 0.5), ylim=(bottom + 0.5, top - 0.5))
    for box in key.boxes:
        draw_box(axes, box, TRUE, 1.6)
    for box, score in zip(boxes, scores, strict=True):
        draw_box(axes, box, FOUND, 1.2, text=f"{score:.2f}")


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _name(subject: str) -> str:
    """What a system is called: by its recipe's title, or as its file."""
    return Path(subject).name.removesuffix(SUFFIX) if is_saved(subject) else read_info(find_checkpoint(subject)).title
