"""GrabCut beside the ellipse: numbers by hand, layers that follow a drag, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels, Shapes, Vectors
from napari.utils.color import ColorValue
from pytestqt.qtbot import QtBot

from napari_uld.errors import RecistError
from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recist import Recist
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.comparison import ELLIPSE_COLOUR, GRABCUT_COLOUR, ComparisonPart, TrimapLabel
from napari_uld.viewer.layers.parts import Part, find_layer
from napari_uld.viewer.panels.masks import MasksPanel, report
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.mask_comparison import Comparison, MaskComparison, compare
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import RECIST, hand, show

NAMES = [part.value for part in ComparisonPart]


@pytest.fixture
def compared(session: Session, expert: Annotation) -> Session:
    """The expert's lesion in hand, its masks compared."""
    session.case.select(expert.id)
    comparison_of(session).start()
    return session


def comparison_of(session: Session) -> MaskComparison:
    return workbench_of(session.viewer).comparison


def names(session: Session) -> list[str]:
    """The layers of the comparison that are seen."""
    return [layer.name for layer in session.viewer.layers if layer.name in NAMES and layer.visible]


def layer(session: Session, part: ComparisonPart) -> Labels | Vectors:
    found = find_layer(session.viewer, session.case, part)
    assert isinstance(found, Labels | Vectors)
    return found


def pull(session: Session, end: tuple[float, float]) -> None:
    """Move the first end of the long diameter to (y, x) as a drag does before it is let go."""
    lines = hand(session)
    moved = [corners.copy() for corners in lines.data]
    moved[0][0, 1:] = end
    with lines.events.data.blocker():
        lines.data = list(zip(moved, lines.shape_type, strict=True))
    lines.features = lines.features.assign(key=[session.case.current.key] * 2)
    lines.refresh()


# -- the numbers --


def test_dice_is_twice_what_both_have_over_what_each_has() -> None:
    grabcut, ellipse = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    grabcut[0] = True
    ellipse[0, :2] = ellipse[1, :2] = True
    assert Comparison(np.zeros((4, 4), np.uint8), grabcut, ellipse, 0.25).dice == 2 * 2 / (4 + 4)


def test_the_trimap_is_shown_where_grabcut_looks_and_foreground_is_a_share_of_the_box() -> None:
    hu = np.zeros((40, 50), np.int16)
    hu[18:23, 18:23] = 100
    # A square on its tip: |x - 20| + |y - 20| <= 3 has 25 pixel centres; the box has 9 x 9.
    recist = Recist(((17.0, 20.0), (23.0, 20.0)), ((20.0, 17.0), (20.0, 23.0)))
    found = compare(hu, recist, (16.0, 16.0, 24.0, 24.0), (-100.0, 200.0), MaskParameters(margin=5), 0.5)
    assert [(found.trimap == label).sum() for label in TrimapLabel] == [19 * 19 - 81, 81 - 25, 25]
    assert found.foreground_share == 25 / 81
    assert found.trimap[11, 11] == TrimapLabel.BACKGROUND
    assert found.trimap[10, 11] == 0


def test_parallel_diameters_cannot_be_compared() -> None:
    recist = Recist(((10.0, 20.0), (30.0, 20.0)), ((12.0, 22.0), (28.0, 22.0)))
    with pytest.raises(RecistError, match="parallel"):
        compare(np.zeros((40, 40), np.int16), recist, recist.box(), (-100.0, 200.0), MaskParameters(), 1.0)


def test_where_the_ellipse_stands_in_for_grabcut_the_panels_text_says_why() -> None:
    # The box is the whole image: there is no background to learn from.
    recist = Recist(((5.0, 20.0), (35.0, 20.0)), ((20.0, 5.0), (20.0, 35.0)))
    hu, box = np.zeros((40, 40), np.int16), (-1.0, -1.0, 40.0, 40.0)
    found = compare(hu, recist, box, (-100.0, 200.0), MaskParameters(), 1.0)
    assert found.dice == 1.0
    assert "The ellipse stands in for GrabCut: box that fills the image." in report(found)


# -- the layers --


def test_it_is_off_until_it_is_started_and_its_layers_go_when_it_is_stopped(session: Session) -> None:
    session.case.select(next(iter(session.case.annotations)).id)
    before = list(session.viewer.layers)
    assert not comparison_of(session).on
    comparison_of(session).start()
    assert names(session) == NAMES
    comparison_of(session).stop()
    assert list(session.viewer.layers) == before


def test_its_layers_lie_where_the_scan_does_the_trimap_on_the_key_slice_alone(compared: Session) -> None:
    for part in ComparisonPart:
        at = layer(compared, part)
        assert [str(unit) for unit in at.units] == ["millimeter"] * 3
        assert at.axis_labels == ("z", "y", "x")
        np.testing.assert_allclose(at.scale, (5.0, 0.5, 0.5))
        np.testing.assert_allclose(at.translate[1:], (-20.0, -24.0))
    # Slice 15 is the fifth from the feet: 100 mm + 4 x 5 mm.
    assert layer(compared, ComparisonPart.TRIMAP).translate[0] == 120.0
    assert layer(compared, ComparisonPart.TRIMAP).data.shape == (1, 96, 96)
    assert set(layer(compared, ComparisonPart.OUTLINES).data[:, 0, 0]) == {4.0}


def test_the_outlines_are_those_of_the_two_masks(compared: Session) -> None:
    found = comparison_of(compared).result
    lines, thick = layer(compared, ComparisonPart.OUTLINES), 1.3
    for colour, mask in ((GRABCUT_COLOUR, found.grabcut), (ELLIPSE_COLOUR, found.ellipse)):
        ys, xs = np.nonzero(mask)
        own = np.isclose(lines.edge_color, np.asarray(ColorValue(colour))).all(axis=1)
        corners = lines.data[own, 0, 1:]
        # What is thick is several lines side by side, at a zoom of a pixel a millimetre.
        np.testing.assert_allclose(corners.min(axis=0), (ys.min() - 0.5, xs.min() - 0.5), atol=thick)
        np.testing.assert_allclose(corners.max(axis=0), (ys.max() + 0.5, xs.max() + 0.5), atol=thick)


def test_masks_and_numbers_follow_an_end_point_before_it_is_let_go_and_nothing_is_edited(compared: Session) -> None:
    compared.choose_mask(MaskKind.GRABCUT, MaskParameters())
    before = comparison_of(compared).result
    pull(compared, (30.0, 26.0))
    after = comparison_of(compared).result
    assert after.ellipse.sum() < before.ellipse.sum()
    # The box that the lesion will have: from 26 - 5.
    assert np.nonzero(after.trimap >= TrimapLabel.UNKNOWN)[1].min() == 21
    np.testing.assert_array_equal(layer(compared, ComparisonPart.TRIMAP).data[0], after.trimap)
    assert not compared.case.annotations.unsaved
    assert compared.case.current.recist == RECIST


def test_an_end_point_that_leaves_no_area_says_so_and_dragging_it_back_brings_the_picture_back(
    compared: Session,
) -> None:
    before = comparison_of(compared).result
    pull(compared, (30.0, 40.0))
    assert "a diameter without length" in comparison_of(compared).problem
    assert names(compared) == []
    pull(compared, (30.0, 20.0))
    assert comparison_of(compared).problem == ""
    assert names(compared) == NAMES
    np.testing.assert_array_equal(comparison_of(compared).result.grabcut, before.grabcut)


def test_undo_of_a_measurement_brings_the_first_comparison_back(compared: Session, expert: Annotation) -> None:
    before = comparison_of(compared).result
    compared.case.measure(expert.id, Recist(((10.0, 30.0), (40.0, 30.0)), ((30.0, 24.0), (30.0, 36.0))))
    assert comparison_of(compared).result.ellipse.sum() > before.ellipse.sum()
    review.undo(compared)
    np.testing.assert_array_equal(comparison_of(compared).result.ellipse, before.ellipse)


def test_grabcuts_parameters_count_at_once(compared: Session) -> None:
    compared.choose_mask(MaskKind.ELLIPSE, MaskParameters(margin=3))
    ys, _ = np.nonzero(layer(compared, ComparisonPart.TRIMAP).data[0])
    assert (ys.min(), ys.max()) == (19 - 3, 41 + 3)


def test_the_lesions_mask_is_left_to_the_comparison_while_it_is_on(compared: Session) -> None:
    mask = compared.layer(Part.MASK)
    assert not mask.data[4].any()
    comparison_of(compared).stop()
    assert mask.data[4].any()


def test_a_lesion_without_recist_is_told_of_and_one_with_a_recist_compared_again(
    compared: Session, findings: Findings, expert: Annotation
) -> None:
    compared.case.select(findings.finding_id(0))
    assert comparison_of(compared).problem == "Both masks grow from a RECIST; the lesion at hand has none."
    assert names(compared) == []
    compared.case.select(expert.id)
    assert names(compared) == NAMES


def test_scrolling_away_hides_it_and_no_layer_of_shapes_comes_or_goes(compared: Session) -> None:
    before = [each for each in compared.viewer.layers if isinstance(each, Shapes)]
    compared.show_slice(6)
    assert names(compared) == []
    compared.show_slice(4)
    assert names(compared) == NAMES
    comparison_of(compared).stop()
    assert [each for each in compared.viewer.layers if isinstance(each, Shapes)] == before


def test_it_is_over_when_the_scan_goes(compared: Session, case: Case) -> None:
    compared.viewer.layers.remove(compared.layer(Part.CT))
    assert not comparison_of(compared).on
    assert len(compared.viewer.layers) == 0
    show(compared.viewer, case)
    assert names(compared) == []


def test_a_lesion_on_a_slice_that_is_not_there_is_told_of(compared: Session, expert: Annotation) -> None:
    far = compared.case.annotations.add(replace(expert, id="lesion:far", key_slice=99))
    compared.case.select(far.id)
    assert comparison_of(compared).problem == "Slice 99 of this lesion is not on disk."


# -- the panel --


def test_the_panel_gives_areas_dice_and_the_trimaps_share(session: Session, expert: Annotation, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.case.select(expert.id)
    assert not panel.compare.isChecked()
    panel.compare.click()
    found = comparison_of(session).result
    text = panel.comparison.text()
    assert f"{found.ellipse.sum() * 0.25:.1f} mm²" in text
    assert f"{found.grabcut.sum()} px" in text
    assert f"Dice {found.dice:.3f}" in text
    assert f"{found.foreground_share:.0%} of the box" in text
    assert not panel.fields["margin"].native.isHidden()
    pull(session, (30.0, 40.0))
    assert panel.comparison.text() == ""
    assert "a diameter without length" in panel.problem.text()
    panel.compare.click()
    assert panel.problem.text() == ""
    assert names(session) == []
