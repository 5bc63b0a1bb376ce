"""Detections and what a one-stage detector shows in the Look inside panel, with a stand-in for its process."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_uld.inference.inside_result import Inside
from napari_uld.lesions.annotations import Annotation
from napari_uld.viewer.layers.inside import ATTENTION, InsidePart
from napari_uld.viewer.layers.parts import Part, find_layer
from napari_uld.viewer.session import Session

from .looks import LESION, FakeLooker, anchors, inside, layer_of, look, names, one_stage, panel_of

pytestmark = pytest.mark.usefixtures("tiny_checkpoint")


# -- detections --


def test_detections_are_drawn_with_their_scores_from_the_reviews_threshold_on(session: Session, qtbot: QtBot) -> None:
    boxes = np.array([[14.0, 18, 46, 42], [60, 60, 80, 80], [50, 20, 70, 34]])
    looker = FakeLooker(inside(boxes=boxes, scores=np.array([0.81, 0.4, 0.39])))
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    layer = layer_of(session, InsidePart.DETECTIONS)
    assert [corners[0, 1:].tolist() for corners in layer.data] == [[18, 14], [60, 60]]
    assert layer.text.values.tolist() == ["0.81", "0.40"]
    assert "Detections: 2 of 3 drawn" in panel.status.text()
    session.case.threshold = 0.39
    look(panel, qtbot)
    assert layer.text.values.tolist() == ["0.81", "0.40", "0.39"]
    session.case.threshold = 0.9
    look(panel, qtbot)
    assert len(layer.data) == 0
    assert "Detections: 0 of 3 drawn, from 0.900 on as in the review; the best 0.81" in panel.status.text()
    # From none to some again.
    session.case.threshold = 0.5
    look(panel, qtbot)
    assert layer.text.values.tolist() == ["0.81"]


def test_detections_of_another_detector_than_the_reviews_are_drawn_from_its_own_operating_point_on(
    session: Session, qtbot: QtBot
) -> None:
    session.case.threshold = 0.9
    another = inside(detector="another 1", operating_point=0.15, scores=np.array([0.16]))
    panel = panel_of(session, qtbot, FakeLooker(another))
    look(panel, qtbot)
    assert len(layer_of(session, InsidePart.DETECTIONS).data) == 1
    assert "Detections: 1 of 1 drawn, from 0.150 on as in the review" in panel.status.text()


# -- one stage --


def test_of_a_one_stage_detector_there_is_one_rule_and_the_others_layers_go(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert "BMC" in panel.status.text()
    looker.found = one_stage()
    look(panel, qtbot)
    assert find_layer(session.viewer, session.case, InsidePart.BM) is None
    assert find_layer(session.viewer, session.case, InsidePart.BMC) is None
    assert len(layer_of(session, InsidePart.IOU).data) == 1
    text = panel.status.text()
    assert "IoU&nbsp;</td><td>1</td><td>1&nbsp;</td><td>1</td>" in text
    assert "BM" not in text


def test_what_a_rule_of_another_heads_makes_positive_has_a_layer_and_a_row_too(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(one_stage(anchors={"centre": anchors([20.0, 20, 24, 24])})))
    look(panel, qtbot)
    assert InsidePart.POSITIVE in names(session)
    assert "centre" in panel.status.text()


def test_attention_maps_lie_under_the_other_maps_hidden_and_go_with_their_detector(
    session: Session, qtbot: QtBot
) -> None:
    looker = FakeLooker(one_stage())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert names(session)[2:9] == [
        "Inside: attention C4", "Inside: attention C3", "Inside: attention C2", "Inside: attention C1",
        "Inside: attention input", "Inside: objectness", "Inside: segmentation",
    ]  # fmt: skip
    layers = [layer_of(session, part) for part in ATTENTION.values()]
    assert not any(layer.visible for layer in layers)
    assert [layer.data.max() for layer in layers] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert {tuple(layer.contrast_limits) for layer in layers} == {(0, 1)}
    assert "C4 to P4 0.10, C3 to P3 0.20, C2 to P2 0.30, C1 to P1 0.40, input to P0 0.50" in panel.status.text()
    looker.found = one_stage(attention={"C4": np.ones((96, 96), np.float32)})
    layers[0].visible = True
    look(panel, qtbot)
    assert [name for name in names(session) if "attention" in name] == ["Inside: attention C4"]
    assert layers[0].visible, "who chose to see it sees the next one too"
    looker.found = inside()
    look(panel, qtbot)
    assert not [name for name in names(session) if "attention" in name]
    assert "Attention" not in panel.status.text()


def test_heat_is_seen_through_where_the_map_is_0_and_hides_the_mask_that_looks_like_it_once(
    session: Session, expert: Annotation, qtbot: QtBot
) -> None:
    mask = session.layer(Part.MASK)
    session.jump(session.case.row(expert.id))
    panel = panel_of(session, qtbot, FakeLooker(one_stage()))
    look(panel, qtbot)
    nothing, high = layer_of(session, InsidePart.SEGMENTATION).colormap.map(np.array([0.0, 1.0]))
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
