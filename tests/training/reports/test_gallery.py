"""Which lesions are shown, and what is drawn about them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.recist import Recist
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import KeySlice, true_slices
from napari_uld.training.evaluate import Found
from napari_uld.training.reports import gallery
from napari_uld.training.reports.gallery import FALSE, HIT, TRUE, Lesion, choose, draw_gallery, lesions_by_type

STUDY = Path(__file__).parents[3] / "sample_data" / "phantom"
BOX = np.array([[0.0, 0, 20, 20]])
MEASURED = Recist.from_points([0, 0, 20, 0, 5, 0, 5, 9])
SMALL = Recist.from_points([0, 0, 5, 0, 2, 0, 2, 3])


def key(*recists: Recist | None, types: tuple[LesionType, ...] = ()) -> KeySlice:
    boxes = np.repeat(BOX, len(recists), axis=0)
    return KeySlice("000001_01_01", 3, (1, 1, 1), boxes, recists, (-175, 275), types=types)


def found_at(scores: list[float | None]) -> tuple[list[Lesion], Found]:
    """A lesion on each slice, found with this score."""
    boxes = [BOX[: score is not None] for score in scores]
    sure = [np.array([score] if score is not None else []) for score in scores]
    matches = match([iou(each, BOX) for each in boxes], sure, threshold=0.5)
    lesions = [Lesion(image, 0) for image in range(len(scores))]
    return lesions, Found([key(MEASURED) for _ in scores], tuple(boxes), matches)


def test_examples_lie_evenly_from_the_surest_to_the_missed() -> None:
    # In order of their scores: 3, 0, 5, 2, 6, and then 1 and 4, which are missed.
    lesions, found = found_at([0.8, None, 0.5, 0.9, None, 0.6, 0.2])
    assert [lesion.image for lesion in choose(lesions, found, 4)] == [3, 5, 6, 4]
    assert [lesion.image for lesion in choose(lesions, found, 3)] == [3, 2, 4]
    assert [lesion.image for lesion in choose(lesions[:2], found, 4)] == [0, 1]
    assert choose([], found, 4) == []


def test_lesions_are_told_apart_by_type_and_size() -> None:
    slices = [key(MEASURED, SMALL, types=(LesionType.LUNG, LesionType.BONE)), key(SMALL)]
    by_type = lesions_by_type(slices)
    nothing = {"< 10 mm": [], "10-30 mm": [], "> 30 mm": []}
    assert by_type == {
        LesionType.UNKNOWN: nothing | {"< 10 mm": [Lesion(1, 0)]},
        LesionType.BONE: nothing | {"< 10 mm": [Lesion(0, 1)]},
        LesionType.LUNG: nothing | {"10-30 mm": [Lesion(0, 0)]},
    }


def test_what_nobody_measured_has_a_column_of_its_own() -> None:
    (columns,) = lesions_by_type([key(MEASURED, None)]).values()
    assert columns["not measured"] == [Lesion(0, 1)]
    assert columns["10-30 mm"] == [Lesion(0, 0)]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Figure]]:
    """The figures by the files they are saved as."""
    drawn: dict[str, Figure] = {}
    save = Figure.savefig

    def keep(figure: Figure, path: Path, **options: object) -> None:
        drawn[path.name] = figure
        save(figure, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery.Figure, "savefig", keep)
    return drawn


def frames(axes: Axes) -> list[tuple[str, tuple[float, ...]]]:
    """Colour and corners of the boxes in a tile."""
    rows = [(patch.get_edgecolor(), patch.get_bbox().extents) for patch in axes.patches]
    return [(to_hex(colour).upper(), tuple(extents)) for colour, extents in rows]


def test_a_tile_has_what_is_true_hit_and_false_from_the_operating_point_on(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    key = next(key for key in true_slices(STUDY, "all") if len(key.boxes) == 1)
    (box,) = key.boxes
    beside, far = box + [30.0, 0, 30, 0], box + [300.0, 0, 300, 0]
    # The third false positive of this image is one too many: what follows is not shown.
    boxes = np.array([beside, box, far, beside + 5, box])
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.2])
    found = Found([key], (boxes,), match([iou(boxes, key.boxes)], [scores], threshold=0.5))
    finish(draw_gallery(tmp_path, STUDY, found))
    (name,) = figures
    assert name == f"{key.types[0].name.lower()}.png"
    assert (tmp_path / name).stat().st_size > 0
    (tile,) = [axes for axes in figures[name].axes if axes.patches]
    assert frames(tile) == [(TRUE, tuple(box)), (FALSE, tuple(beside)), (HIT, tuple(box))]
    assert [text.get_text() for text in tile.texts if text.get_text()] == ["0.90", "0.80"]
    assert tile.get_xlabel().startswith(f"{key.diameters[0]:.1f} mm, score 0.80\n{key.series}")
    assert "1 of 1 found" in tile.get_title()


def test_lesions_of_no_type_are_all_in_one_picture_and_missed_ones_say_so(
    tmp_path: Path, figures: dict[str, Figure]
) -> None:
    slices = [replace(key, types=()) for key in true_slices(STUDY, "all")[:2]]
    none = tuple(np.zeros((0, 4)) for _ in slices)
    matches = match([iou(none[0], key.boxes) for key in slices], [np.zeros(0)] * 2, threshold=0.5)
    finish(draw_gallery(tmp_path, STUDY, Found(slices, none, matches)))
    assert list(figures) == ["all.png"]
    captions = [axes.get_xlabel() for axes in figures["all.png"].axes if axes.patches]
    assert captions
    assert all("missed" in caption for caption in captions)
