"""The scan's layer: what it is told when another case, or the same scan again, takes its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotations
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import slider_range
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case


def test_what_stays_the_same_is_not_told_again(session: Session, volume: CTVolume, tmp_path: Path) -> None:
    ct, told = session.layer(Part.CT), []
    for event in (ct.events.data, ct.events.contrast_limits, ct.events.contrast_limits_range, ct.events.translate):
        event.connect(lambda event: told.append(event.type))
    session.open(Case(volume, Annotations("1.2.3"), tmp_path / "again.lesions.json"))
    assert told == []
    other = replace(volume, hu=np.full_like(volume.hu, 2500), origin=(0.0, 0.0, 0.0), window=(0.0, 80.0))
    session.open(Case(other, Annotations("1.2.3"), tmp_path / "other.lesions.json"))
    assert set(told) == {"data", "contrast_limits", "contrast_limits_range", "translate"}
    assert ct.data is other.hu
    assert tuple(ct.contrast_limits) == (0.0, 80.0)
    assert ct.contrast_limits_range[1] == 2500


def test_of_a_scan_that_is_being_read_the_windows_alone_say_how_far_the_slider_goes(case: Case) -> None:
    case.volume.hu[0, 0, 0] = 9000
    case.reading = (1, 10)
    assert slider_range(case)[1] < 9000
    case.reading = None
    assert slider_range(case)[1] == 9000
