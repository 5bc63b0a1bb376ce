"""Detections and what a one-stage detector shows in the Look inside panel, with a stand-in for its process."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_uld.inference.inside_result import Inside
from napari_uld.lesions.annotations import Annotation
from napari_uld.viewer.layers.inside import OBJECTNESS, SEGMENTATION, Boxes, InsidePart, boxes_of
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session

from .looks import GATES, LESION, FakeLooker, anchors, inside, kinds_drawn, layer_of, look, one_stage, panel_of

pytestmark = pytest.mark.usefixtures("tiny_checkpoint")


@pytest.fixture(autouse=True)
def on_the_slice(session: Session) -> None:
    """The slice that the stand-in looks at is shown."""
    session.show_slice(4)


# -- detections --


def test_detections_are_drawn_and_their_scores_said_from_the_reviews_threshold_on(
    session: Session, qtbot: QtBot
) -> None:
    boxes = np.array([[14.0, 18, 46, 42], [60, 60, 80, 80], [50, 20, 70, 34]])
    found = inside(boxes=boxes, scores=np.array([0.81, 0.4, 0.39]))
    panel = panel_of(session, qtbot, FakeLooker(found))
    look(panel, qtbot)
    assert boxes_of(session.case, found)[Boxes.DETECTIONS].tolist() == boxes[:2].tolist()
    assert panel.status.text().endswith("2 of 3 drawn, from 0.400 on as in the review; the best 0.81, 0.40")
    session.case.threshold = 0.9
    look(panel, qtbot)
    assert Boxes.DETECTIONS not in kinds_drawn(session)
    assert panel.status.text().endswith("0 of 3 drawn, from 0.900 on as in the review; the best 0.81")
    # From none to some again.
    session.case.threshold = 0.39
    look(panel, qtbot)
    assert Boxes.DETECTIONS in kinds_drawn(session)
    assert panel.status.text().endswith("the best 0.81, 0.40, 0.39")


def test_detections_of_another_detector_than_the_reviews_are_drawn_from_its_own_operating_point_on(
    session: Session, qtbot: QtBot
) -> None:
    session.case.threshold = 0.9
    another = inside(detector="another 1", operating_point=0.15, scores=np.array([0.16]))
    panel = panel_of(session, qtbot, FakeLooker(another))
    look(panel, qtbot)
    assert Boxes.DETECTIONS in kinds_drawn(session)
    assert "Detections: 1 of 1 drawn, from 0.150 on as in the review" in panel.status.text()


# -- one stage --


def test_of_a_one_stage_detector_there_is_one_rule_and_the_others_boxes_go(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert "BMC" in panel.status.text()
    looker.found = one_stage()
    look(panel, qtbot)
    assert kinds_drawn(session) == {Boxes.IOU, Boxes.DETECTIONS}
    assert [kind for kind, box in panel.boxes.items() if not box.isHidden()] == [Boxes.DETECTIONS, Boxes.IOU]
    text = panel.status.text()
    assert "IoU&nbsp;</td><td>1</td><td>1&nbsp;</td><td>1</td>" in text
    assert "BM" not in text


def test_what_a_rule_of_another_heads_makes_positive_is_drawn_and_has_a_row_too(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(one_stage(anchors={"centre": anchors([20.0, 20, 24, 24])})))
    look(panel, qtbot)
    assert Boxes.POSITIVE in kinds_drawn(session)
    assert "centre" in panel.status.text()


def test_attention_maps_can_be_chosen_and_go_with_their_detector(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(one_stage())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    gates = tuple(f"Attention {features}" for features in GATES)
    assert panel.map.choices == ("none", OBJECTNESS, SEGMENTATION, *gates)
    seen = []
    for gate in gates:
        panel.map.value = gate
        layer = layer_of(session, InsidePart.MAP)
        seen.append((layer.data.max(), layer.colormap.name, layer.opacity, tuple(layer.contrast_limits)))
    assert seen == [(pytest.approx(0.1 * i), "viridis", 0.6, (0, 1)) for i in range(1, 6)]
    assert "C4 to P4 0.10, C3 to P3 0.20, C2 to P2 0.30, C1 to P1 0.40, input to P0 0.50" in panel.status.text()
    looker.found = one_stage(attention={"input": np.ones((96, 96), np.float32)})
    look(panel, qtbot)
    assert layer_of(session, InsidePart.MAP).data.max() == 1, "who chose to see it sees the next one too"
    looker.found = inside()
    look(panel, qtbot)
    assert panel.map.value == OBJECTNESS
    assert layer_of(session, InsidePart.MAP).colormap.name == "objectness"
    assert "Attention" not in panel.status.text()


def test_heat_is_seen_through_where_the_map_is_0_and_hides_the_mask_that_looks_like_it_once(
    session: Session, expert: Annotation, qtbot: QtBot
) -> None:
    mask = session.layer(Part.MASK)
    session.jump(session.case.row(expert.id))
    panel = panel_of(session, qtbot, FakeLooker(one_stage()))
    look(panel, qtbot)
    assert mask.visible
    panel.map.value = SEGMENTATION
    nothing, high = layer_of(session, InsidePart.MAP).colormap.map(np.array([0.0, 1.0]))
    assert nothing[3] == 0
    assert high[0] > high[1] > high[2], "hot"
    assert not mask.visible
    mask.visible = True
    look(panel, qtbot)
    assert mask.visible


@pytest.mark.parametrize(
    ("found", "calibrated"), [(one_stage(), True), (one_stage(branch=None), False), (inside(), False)]
)
def test_it_is_said_what_a_score_is_where_the_map_calibrates_it(
    session: Session, qtbot: QtBot, found: Inside, calibrated: bool
) -> None:
    panel = panel_of(session, qtbot, FakeLooker(found))
    look(panel, qtbot)
    assert ("p (1 + IoU) / 2" in panel.status.text()) == calibrated


def test_it_is_said_that_no_anchor_is_forced_where_a_lesion_has_none(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(one_stage(lesions=np.concatenate([LESION, LESION + 50])))
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert "1, 0&nbsp;</td>" in panel.status.text()
    assert "No anchor is forced" in panel.status.text()
    looker.found = one_stage()
    look(panel, qtbot)
    assert "No anchor is forced" not in panel.status.text()
