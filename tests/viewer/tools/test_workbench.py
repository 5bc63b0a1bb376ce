"""One workbench a viewer: its tools take turns, its keys work whichever layer a person is in."""

import napari.settings
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import case_layers
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.tool import ToolName
from napari_uld.viewer.tools.workbench import Workbench, workbench_of


def keys_of(target: ViewerModel | Layer) -> set[str]:
    return {str(binding) for binding in target.keymap}


ALL_KEYS = {key.key for key in KEYS}


@pytest.fixture
def bench(session: Session, expert: Annotation) -> Workbench:
    """The workbench of a viewer whose expert's lesion is at hand."""
    session.case.select(expert.id)
    return workbench_of(session.viewer)


def test_a_viewer_has_one_workbench_and_another_viewer_another(viewer: ViewerModel) -> None:
    assert workbench_of(viewer) is workbench_of(viewer)
    assert workbench_of(viewer).session.viewer is viewer
    assert workbench_of(ViewerModel()) is not workbench_of(viewer)


def test_a_session_alone_binds_no_key(viewer: ViewerModel, case: Case) -> None:
    session = Session(viewer)
    for data, look, kind in case_layers(case):
        viewer.add_layer(Layer.create(data, look, kind))
    assert session.case is case
    assert keys_of(viewer) & ALL_KEYS == set()
    assert keys_of(session.layer(Part.CT)) & ALL_KEYS == set()


def test_keys_are_bound_on_the_viewer_and_on_a_case_s_layers_that_were_there_and_that_come(
    viewer: ViewerModel, case: Case
) -> None:
    layers = [Layer.create(*layer) for layer in case_layers(case)]
    foreign = viewer.add_image(np.zeros((4, 4)))
    for layer in layers[:2]:
        viewer.add_layer(layer)
    assert workbench_of(viewer).session.case is case
    for layer in layers[2:]:
        viewer.add_layer(layer)
    for target in (viewer, *layers):
        assert keys_of(target) >= ALL_KEYS, target
    assert keys_of(foreign) & ALL_KEYS == set()


def test_no_key_is_taken_from_napari() -> None:
    taken = {
        str(binding) for bindings in napari.settings.get_settings().shortcuts.shortcuts.values() for binding in bindings
    }
    assert taken
    # Esc ends drawing in napari, too, and Ctrl+C and Ctrl+V copy and paste shapes; M makes a new label there, which no
    # layer of a scan has a use for. Paths and lines are no lesions' shapes (T, L), and a CT is read through windows
    # (C), as it was taken (Y). Boxes lie beside one another and a mask has one label: none goes to the back or is kept
    # from the brush (B).
    assert ALL_KEYS & taken <= {"Escape", "M", "Ctrl+C", "Ctrl+V", "T", "L", "C", "Y", "B"}
    assert len(ALL_KEYS) == len(KEYS)


@pytest.mark.parametrize("part", [None, *Part])
def test_keys_work_whichever_layer_is_active(session: Session, findings: Findings, part: Part | None) -> None:
    target = session.viewer if part is None else session.layer(part)
    session.jump(session.case.row(findings.finding_id(0)))
    keymap = {str(binding): action for binding, action in target.keymap.items()}
    keymap["G"](target)
    assert session.case.row(findings.finding_id(0)).mark is Mark.ACCEPTED
    keymap["U"](target)
    assert session.case.row(findings.finding_id(0)).mark is Mark.PENDING
    keymap["8"](target)
    assert session.window == (-1350.0, 150.0)


def test_a_tool_stops_when_another_is_taken(bench: Workbench) -> None:
    bench.brush.start()
    assert bench.brush.on
    bench.comparison.start()
    assert (bench.brush.on, bench.comparison.on) == (False, True)
    bench.brush.start()
    assert (bench.brush.on, bench.comparison.on) == (True, False)


def test_drawing_and_measuring_take_turns_with_the_other_tools(bench: Workbench) -> None:
    bench.brush.start()
    bench.session.tool_wanted.emit(ToolName.RECIST)
    assert (bench.brush.on, bench.drawing.on) == (False, True)
    bench.session.tool_wanted.emit(ToolName.ELLIPSE)
    assert (bench.drawing.on, bench.ruler.on, bench.ruler.kind) == (False, True, ToolName.ELLIPSE)
    bench.comparison.start()
    assert not bench.ruler.on


def test_a_tool_that_is_taken_again_goes_on(bench: Workbench) -> None:
    bench.brush.start()
    layer = bench.brush.layer
    bench.brush.start()
    assert bench.brush.layer is layer
