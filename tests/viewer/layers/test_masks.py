"""The mask layer: lesions that no mask can be made of, corrected masks, and the words for the mask to correct."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotation_file import read_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import encode
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.masks.ellipse import ellipse_in_box, quarter_ellipse_mask
from napari_uld.masks.lesion_mask import lesion_mask
from napari_uld.viewer.layers.masks import mask_to_correct
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_annotations
from napari_uld.viewer.tools import review

from ..conftest import RECIST, show

SHAPE = (96, 96)
STATUS = Path("/proc/self/statm")
# Boxes about (60, 61) and (70, 20).
PARALLEL = Recist.from_points([50, 60, 70, 60, 50, 62, 70, 62])
NO_LENGTH = Recist.from_points([70, 20, 70, 20, 70, 12, 70, 28])
SQUARE = np.zeros(SHAPE, bool)
SQUARE[26:30, 27:33] = True


def add(session: Session, expert: Annotation, name: str, recist: Recist) -> None:
    """Add a lesion of the expert's on the expert's key slice, and show that slice."""
    session.case.annotations.add(replace(expert, id=name, recist=recist, box=recist.box()))
    session.jump(session.case.row(expert.id))


@pytest.mark.parametrize("kind", [MaskKind.ELLIPSE, MaskKind.GRABCUT])
def test_a_recist_that_gives_no_mask_is_named_and_spares_the_other_masks_of_its_slice(
    session: Session, expert: Annotation, kind: MaskKind
) -> None:
    add(session, expert, "lesion:parallel", PARALLEL)
    session.choose_mask(kind, MaskParameters())
    painted = session.layer(Part.MASK).data[4]
    own, _, _ = lesion_mask(kind, session.case.volume.hu[4], expert.box, RECIST, (-100.0, 200.0))
    assert own.any()
    np.testing.assert_array_equal(painted, own * 255)
    assert session.painter.problem == (
        f"No {kind.value} mask at x 60, y 61 (parallel diameters): measure again, or choose bm or abm"
    )
    session.choose_mask(MaskKind.BM, MaskParameters())
    assert session.layer(Part.MASK).data[4, 61, 60] == 255
    assert session.painter.problem == ""


def test_every_lesion_without_a_mask_is_told_of(session: Session, expert: Annotation, findings: Findings) -> None:
    add(session, expert, "lesion:parallel", PARALLEL)
    add(session, expert, "lesion:short", NO_LENGTH)
    session.case.annotations.add(replace(expert, id="lesion:size", mask=encode(np.ones((10, 12), bool))))
    session.case.select(findings.finding_id(0))
    session.choose_mask(MaskKind.ELLIPSE, MaskParameters())
    bare, refused, size = session.painter.problem.split("\n")
    assert bare == "1 on this slice without RECIST: ellipse needs one"
    assert "x 60, y 61 (parallel diameters)" in refused
    assert "x 70, y 20 (a diameter without length)" in refused
    assert "10 x 12 pixels, the slice has 96 x 96" in size
    np.testing.assert_array_equal(session.layer(Part.MASK).data[4], quarter_ellipse_mask(RECIST, SHAPE) * 255)


def test_the_mask_to_correct_is_what_training_would_make_and_says_why(case: Case, expert: Annotation) -> None:
    def begin(annotation: Annotation) -> tuple[np.ndarray, str]:
        row = replace(case.row(expert.id), recist=annotation.recist, boxes={15: annotation.box})
        return mask_to_correct(case, 4, row, MaskKind.GRABCUT, MaskParameters())

    mask, words = begin(replace(expert, recist=PARALLEL))
    np.testing.assert_array_equal(mask, ellipse_in_box(expert.box, SHAPE))
    assert words == "the ellipse in the box (parallel diameters)"
    mask, words = begin(replace(expert, box=(0.0, 0.0, 95.0, 95.0)))
    np.testing.assert_array_equal(mask, quarter_ellipse_mask(RECIST, SHAPE))
    assert words == "the quarter ellipses (GrabCut gave no mask: box that fills the image)"
    mask, words = begin(replace(expert, box=(200.0, 200.0, 220.0, 220.0)))
    assert not mask.any()
    assert words == "an empty mask (box without a pixel of the image, and no ellipse in the box)"


def test_the_mask_to_correct_heeds_what_is_set_about_grabcut(case: Case, expert: Annotation) -> None:
    hu = case.volume.hu[4]
    hu += np.random.default_rng(0).normal(0, 60, SHAPE).astype(np.int16)
    row, window = case.row(expert.id), (-100.0, 200.0)
    default, _ = mask_to_correct(case, 4, row, MaskKind.GRABCUT, MaskParameters())
    other, _ = mask_to_correct(case, 4, row, MaskKind.GRABCUT, MaskParameters(iterations=1, margin=2))
    expected, _, _ = lesion_mask(MaskKind.GRABCUT, hu, expert.box, RECIST, window, iterations=1, margin=2)
    np.testing.assert_array_equal(other, expected)
    assert (default != other).any()


# -- memory --


def resident() -> int:
    """Bytes of memory that this process has in use."""
    return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells what memory is in use")
def test_scrolling_over_slices_without_lesions_takes_no_memory(viewer: ViewerModel) -> None:
    hu = np.zeros((400, 512, 512), np.int16)
    volume = CTVolume(hu, (1.0, 1.0, 1.0), Path("long"), "long", np.arange(400), series_uid="1")
    session = show(viewer, Case(volume, Annotations("1"), Path("long.lesions.json")))
    mask, before = session.layer(Part.MASK).data, resident()
    for z in range(len(hu)):
        session.show_slice(z)
    # Written, they would take 100 MiB.
    assert resident() - before < 30 * 2**20
    assert not mask[::40].any()


def test_a_mask_that_goes_is_taken_off_the_picture_and_slices_without_one_are_not_drawn_again(
    session: Session, expert: Annotation
) -> None:
    session.jump(session.case.row(expert.id))
    mask, drawn = session.layer(Part.MASK), []
    assert mask.visible
    session.case.decide(expert.id, State.REJECTED)
    session.case.select(None)
    assert not mask.visible
    assert not mask.data[4].any()
    mask.events.set_data.connect(lambda _: drawn.append(session.z))
    session.show_slice(2)
    assert drawn == []
    session.show_slice(4)
    session.case.decide(expert.id, State.ACCEPTED)
    assert mask.visible
    assert set(drawn) == {4}


# -- a mask that a person painted --


def test_the_mask_layer_shows_the_corrected_mask_whatever_the_kind(session: Session, expert: Annotation) -> None:
    session.case.select(expert.id)
    session.show_slice(4)
    session.case.paint_mask(expert.id, encode(SQUARE))
    mask = session.layer(Part.MASK)
    for kind in MaskKind:
        session.choose_mask(kind, MaskParameters())
        np.testing.assert_array_equal(mask.data[4], SQUARE * 255)
    review.undo(session)
    assert not (mask.data[4] == SQUARE * 255).all()


def test_a_corrected_mask_of_another_size_is_told_of_and_not_shown(session: Session, expert: Annotation) -> None:
    session.case.annotations.edit(expert.id, mask=encode(np.ones((10, 12), bool)))
    session.case.select(expert.id)
    session.show_slice(4)
    assert not session.layer(Part.MASK).data[4].any()
    assert "10 x 12 pixels, the slice has 96 x 96" in session.painter.problem


def test_the_mask_a_detector_made_is_no_correction(session: Session, findings: Findings) -> None:
    own = replace(findings, masks=(encode(SQUARE), None, None, None))
    session.case.set_findings(own)
    key = own.finding_id(0)
    session.case.decide(key, State.ACCEPTED)
    assert session.case.row(key).annotation.mask == encode(SQUARE)
    assert session.case.row(key).corrected_mask is None


def test_a_corrected_mask_is_saved_and_shown_again_beside_the_recist(session: Session, expert: Annotation) -> None:
    session.case.paint_mask(expert.id, encode(SQUARE))
    assert session.save()
    (saved,) = read_annotations(session.case.path).annotations
    assert (saved.recist, saved.box) == (RECIST, expert.box)
    again = Case(session.case.volume, Annotations("1.2.3"), session.case.path)
    open_annotations(again, session.case.path)
    viewer = ViewerModel()
    reopened = show(viewer, again)
    reopened.jump(again.rows[0])
    np.testing.assert_array_equal(reopened.layer(Part.MASK).data[4], SQUARE * 255)
