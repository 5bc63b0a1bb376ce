from collections.abc import Callable
from pathlib import Path

import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.utils.notifications import Notification
from npe2 import PluginManager

from napari_uld.ct import read_scan
from napari_uld.errors import DataError
from napari_uld.viewer.layers.parts import Part, case_of
from napari_uld.viewer.plugin import demo, reader
from napari_uld.viewer.plugin.samples import own_copy, phantom_path
from napari_uld.viewer.state.files import open_case, save_case
from napari_uld.viewer.state.settings import PLUGIN
from napari_uld.viewer.tools.workbench import workbench_of


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person's copies lie."""
    monkeypatch.setattr(reader, "data_folder", lambda: tmp_path / "data")
    PluginManager.instance().discover()
    return tmp_path / "data"


@pytest.mark.usefixtures("data_folder")
def test_the_sample_opens_from_a_copy_and_the_package_stays_as_it_was(tmp_path: Path) -> None:
    before = files(phantom_path())
    case = case_of(ViewerModel().open_sample(PLUGIN, "phantom")[0])
    assert tmp_path in case.path.parents
    rows = len(case.rows)
    case.add(2, (10.0, 20.0, 40.0, 60.0))
    save_case(case)
    assert files(phantom_path()) == before
    again = case_of(ViewerModel().open_sample(PLUGIN, "phantom")[0])
    assert len(again.rows) == rows + 1


@pytest.mark.window
@pytest.mark.usefixtures("data_folder")
def test_the_menu_opens_the_sample_in_a_window_without_a_complaint(
    make_napari_viewer: Callable[..., Viewer], shown: list[Notification]
) -> None:
    viewer = make_napari_viewer()
    for _ in range(2):
        viewer.open_sample(PLUGIN, "phantom")
        assert workbench_of(viewer).session.case is not None
    # Nor is there anything between the reader and the scan.
    assert not workbench_of(viewer).session.layer(Part.MASK).visible
    assert not shown


def test_a_copy_without_saved_decisions_has_the_studys_own_lesions(tmp_path: Path) -> None:
    copy = own_copy(tmp_path)
    assert files(copy) == files(phantom_path())
    assert own_copy(tmp_path) == copy
    assert [folder.name for folder in tmp_path.iterdir()] == [copy.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be copied to .*data"):
        own_copy(tmp_path / "data")


def test_a_picture_of_the_demo_knows_nothing_of_earlier_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "data_folder", lambda: tmp_path / "data")
    case, _ = open_case(read_scan(own_copy(tmp_path / "data")))
    rows = len(case.rows)
    case.add(2, (10.0, 20.0, 40.0, 60.0))
    save_case(case)
    shown = {}

    def run(screenshot: Path | None, study: Path) -> list[dict[str, str]]:
        shown[screenshot] = len(open_case(read_scan(study))[0].rows)
        return []

    monkeypatch.setattr(demo, "_run", run)
    demo.run_demo(tmp_path / "demo.png")
    demo.run_demo()
    assert shown == {tmp_path / "demo.png": rows, None: rows + 1}
