"""A folder is looked through in a thread: first for its scans, then for what is known of each."""

from collections.abc import Generator
from pathlib import Path

from napari.qt.threading import WorkerBase, create_worker
from qtpy.QtCore import QObject, Signal

from napari_uld.ct import find_scans
from napari_uld.errors import ScanError, UldError
from napari_uld.viewer.panels.background import in_background
from napari_uld.viewer.panels.detector_run import Outcome
from napari_uld.viewer.state.beside import Beside
from napari_uld.viewer.state.case import Counts
from napari_uld.viewer.state.cases import CaseList


class CaseSearch(QObject):
    """One folder at a time; what comes of one that is no longer asked for is dropped."""

    # The folder, and an `Outcome`: its `FoundScans`, or the error that says why there are none.
    found = Signal(object, object)
    # The place of a scan in the list, and its `Counts`.
    counted = Signal(int, object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker: WorkerBase | None = None
        self._asked: object = None

    def look_through(self, root: Path) -> None:
        """Look for the scans of a folder."""
        self.end()
        asked = self._asked = object()

        def take(found: Outcome) -> None:
            if self._asked is asked:
                self.found.emit(root, found)

        self._worker = create_worker(_find, root, _connect={"returned": take})

    def count(self, cases: CaseList) -> None:
        """Count from their files those scans of a list that were not counted otherwise."""
        self.end()
        asked = self._asked = object()

        def take(counted: tuple[int, Counts]) -> None:
            if self._asked is asked:
                self.counted.emit(*counted)

        self._worker = create_worker(_count, cases, _connect={"yielded": take})

    def end(self) -> None:
        """Take no more of what was asked for."""
        self._asked = None
        if self._worker is not None:
            self._worker.quit()
        self._worker = None


def _find(root: Path) -> Outcome:
    try:
        with in_background():
            return Outcome(find_scans(root))
    except UldError as error:
        return Outcome(error=error)
    except OSError as error:
        why = f"{root} cannot be looked through: {error.strerror or error}; see that it is there, and that you may"
        return Outcome(error=ScanError(why))


def _count(cases: CaseList) -> Generator[tuple[int, Counts], None, None]:
    with in_background():
        yield from cases.count_from_files(Beside())
