from pathlib import Path

from pytestqt.qtbot import QtBot

from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.masks import MaskKind
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case


def test_choosing_a_kind_paints_it_and_shows_its_parameters_only(session: Session, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    soft = session.layer(Part.MASK).data[4].copy()
    panel.kind.value = MaskKind.GRABCUT
    assert set(session.layer(Part.MASK).data[4].ravel().tolist()) == {0, 255}
    assert not (session.layer(Part.MASK).data[4] == soft).all()
    shown = {name for name, widget in panel.fields.items() if not widget.native.isHidden()}
    assert shown == {"iterations", "margin"}


def test_masks_are_seen_where_somebody_wants_them_and_in_the_next_scan_too(
    session: Session, expert: Annotation, tmp_path: Path, qtbot: QtBot
) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    assert session.layer(Part.MASK).visible
    panel.visible.click()
    assert not session.layer(Part.MASK).visible
    volume = session.case.volume
    session.open(Case(volume, Annotations(volume.scan_id, [expert]), tmp_path / "other.lesions.json"))
    session.jump(session.case.rows[0])
    assert not session.layer(Part.MASK).visible
    assert not panel.visible.isChecked()
    panel.kind.value = MaskKind.ABM
    assert session.layer(Part.MASK).visible
    assert panel.visible.isChecked()


def test_a_parameter_changes_the_mask_at_once(session: Session, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    panel.kind.value = MaskKind.ABM
    steep = session.layer(Part.MASK).data[4].copy()
    panel.fields["small"].value = 100_000
    assert session.layer(Part.MASK).data[4].astype(int).sum() > steep.astype(int).sum()
