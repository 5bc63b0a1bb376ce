"""What Look inside shows and says of detectors without anchors: cells, or queries and their reference points."""

from pathlib import Path

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Vectors

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.inside import look_inside
from napari_uld.inference.inside_result import Inside
from napari_uld.viewer.layers.inside import OBJECTNESS, Boxes, InsideLayers, InsidePart, boxes_of, origins_of
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.panels.inside import report
from napari_uld.viewer.session import Session

Z = 4


def looked_inside(name: str, session: Session, *, sure: bool = False) -> Inside:
    """What an untrained detector of a recipe shows of the slice with the expert's lesion; one is `sure` of queries."""
    recipe = load_recipe(name, "small")
    torch.manual_seed(0)
    model = build_detector(recipe).eval()
    if sure:
        torch.nn.init.zeros_(model.dense_head.classify.bias)
    info = CheckpointInfo(Path(name), "0", recipe.model_dump(mode="json"), {})
    detector = LoadedDetector(model, recipe.input, info, torch.device("cpu"))
    (expert,) = session.case.annotations
    return look_inside(session.case.volume, Z, np.array([expert.box]), detector)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fcos", "cells in all: each makes one guess"),
        ("centernet", "cells in all: each makes one guess"),
        ("deformable_detr", "50 queries in all: each lesion is taught one of them"),
    ],
)
def test_a_detector_without_anchors_is_told_by_its_own_words(
    name: str, said: str, session: Session, viewer: ViewerModel
) -> None:
    inside = looked_inside(name, session)
    case = session.case
    # Nothing of an untrained one scores more.
    case.thresholds.choose(inside.detector, 0.0)
    layers = InsideLayers(viewer, lambda act: act())
    session.show_slice(Z)
    layers.take(case, inside, OBJECTNESS, list(Boxes))
    layers.see(something=True, in_3d=False)
    assert all(find_layer(viewer, case, part).visible for part in InsidePart)
    assert len(boxes_of(case, inside)[Boxes.POSITIVE]) > 0
    text = report(case, inside)
    assert said in text
    assert "anchor" not in text


def test_a_querys_reference_point_is_a_cross_with_a_line_to_its_box(session: Session, viewer: ViewerModel) -> None:
    inside, case = looked_inside("deformable_detr", session, sure=True), session.case
    assert inside.places.shape == (len(inside.scores), 2)
    best = float(inside.scores[0])
    case.thresholds.choose(inside.detector, best)
    (lines, *others) = origins_of(case, inside)
    assert len(others) == int((inside.scores >= best).sum()) - 1
    (x, y), (x1, y1, x2, y2) = inside.places[0], inside.boxes[0]
    across, down, way = lines
    assert across.mean(axis=0) == pytest.approx([Z, y, x])
    assert down.mean(axis=0) == pytest.approx([Z, y, x])
    assert way.tolist() == [[Z, y, x], [Z, (y1 + y2) / 2, (x1 + x2) / 2]]
    # Reference points lie anywhere on the slice, not where an untrained one's boxes do by chance.
    assert np.ptp(inside.places, axis=0).min() > 10
    assert "reference point of a detection's query" in report(case, inside)
    layers = InsideLayers(viewer, lambda act: act())
    counts = []
    for kinds in ([Boxes.DETECTIONS], []):
        layers.take(case, inside, OBJECTNESS, kinds)
        layers.see(something=True, in_3d=False)
        layer = find_layer(viewer, case, InsidePart.BOXES)
        assert isinstance(layer, Vectors)
        counts.append(len(layer.data) if layer.visible else 0)
    assert counts[0] >= 4 + 3
    assert counts[1] == 0
