from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from napari.components import ViewerModel
from napari.plugins.utils import get_preferred_reader
from napari.settings import get_plugin_settings, get_settings
from pytestqt.qtbot import QtBot

from napari_uld.lesions.annotations import default_reviewer
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.settings import DEVICES, PLUGIN, ReviewSettings, open_unasked, opens_unasked, settings

from ..conftest import FakeDetector


@pytest.fixture
def page() -> Iterator[object]:
    """The plugin's page of the preferences, put back afterwards."""
    page = get_plugin_settings(PLUGIN).review
    before = page.model_dump()
    yield page
    for name, value in before.items():
        setattr(page, name, value)


@pytest.mark.usefixtures("page")
def test_untouched_preferences_are_the_documented_ones() -> None:
    assert settings() == ReviewSettings(reviewer=default_reviewer(), checkpoint="retinanet_dense_ag")


def test_a_scan_is_opened_with_the_reviewer_and_the_threshold_of_the_preferences(page, case) -> None:
    page.reviewer, page.score_threshold = "Dr Roe", 0.7
    opened, _ = open_case(case.volume)
    assert (opened.reviewer, opened.threshold) == ("Dr Roe", 0.7)


def test_a_threshold_of_the_preferences_holds_for_every_detector_until_a_person_chooses(
    page, case, findings: Findings
) -> None:
    page.score_threshold = 0.3
    case.set_findings(replace(findings, operating_point=0.15))
    assert case.threshold == 0.3
    case.threshold = 0.5
    case.set_findings(replace(findings, checkpoint="another", operating_point=0.15))
    assert case.threshold == 0.3


def test_without_a_threshold_in_the_preferences_detectors_choose_it(page, case, findings: Findings) -> None:
    page.score_threshold = 0
    opened, _ = open_case(case.volume)
    assert opened.threshold == 0.4
    opened.set_findings(replace(findings, operating_point=0.15))
    assert opened.threshold == 0.15


def test_the_detect_panel_starts_from_the_preferences(page, qtbot: QtBot) -> None:
    page.device, page.score_threshold = "cpu", 0.65
    panel = DetectPanel(ViewerModel(), FakeDetector())
    qtbot.addWidget(panel)
    assert (panel.device.value, panel.threshold.value) == ("cpu", 0.65)


def test_a_preferred_checkpoint_that_is_gone_does_not_keep_the_panel_from_opening(page, qtbot: QtBot) -> None:
    page.checkpoint = "/gone/detector.safetensors"
    panel = DetectPanel(ViewerModel(), FakeDetector())
    qtbot.addWidget(panel)
    assert "/gone/detector.safetensors" not in panel.checkpoints.names.choices


def test_the_devices_of_the_panel_are_those_of_the_preferences(page) -> None:
    for device in DEVICES:
        page.device = device
    with pytest.raises(ValueError, match="abacus"):
        page.device = "abacus"


@pytest.fixture
def _no_readers() -> Iterator[None]:
    plugins = get_settings().plugins
    before = plugins.extension2reader
    plugins.extension2reader = {"*.tif": "other"}
    yield
    plugins.extension2reader = before


@pytest.mark.usefixtures("_no_readers")
@pytest.mark.parametrize("name", ["study", "study [2024] *"])
def test_folders_of_a_root_that_was_agreed_to_open_with_this_plugin_and_no_others(tmp_path: Path, name: str) -> None:
    root, beside = tmp_path / name, tmp_path / f"{name} 2"
    for folder in (root / "patient" / "series", beside):
        folder.mkdir(parents=True)
    assert not opens_unasked(root)
    open_unasked(root, True)
    assert opens_unasked(root)
    paths = (root, root / "patient" / "series", beside, tmp_path, root / "picture.png", root / "a.tif")
    readers = [get_preferred_reader(str(path)) for path in paths]
    assert readers == ["napari-uld", "napari-uld", None, None, None, "other"]
    open_unasked(root, False)
    assert not opens_unasked(root)
    assert get_settings().plugins.extension2reader == {"*.tif": "other"}
