"""Scans that arrive together: several paths dropped at once are read one by one, and one scan is open at a time."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

from napari.components import ViewerModel
from qtpy.QtCore import QTimer

from napari_uld.ct import ScanEntry
from napari_uld.viewer.session import Session

# Milliseconds after which it is looked again whether napari is through with all paths.
SOON = 50


@dataclass
class Arrived:
    """Scans that arrived together, none twice, and all their files."""

    scans: list[ScanEntry] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)

    def add(self, scans: Iterable[ScanEntry]) -> None:
        """Add scans that are not there yet."""
        for scan in scans:
            if scan not in self.scans:
                self.scans.append(scan)
                self.files.update(file.resolve() for file in scan.files)


class Arrivals:
    """What napari asks a session to open in one call.

    Parameters
    ----------
    offer
        Called with the session and the scans once all are there, where there are several; the first is open.
    """

    def __init__(self, offer: Callable[[Session, Sequence[ScanEntry]], None]) -> None:
        self._offer = offer
        self._scans: WeakKeyDictionary[Session, Arrived] = WeakKeyDictionary()

    @contextmanager
    def reading(self, session: Session) -> Iterator[Arrived]:
        """While a path is read: the scans that arrived with it, for its own to be added."""
        try:
            yield self._scans.setdefault(session, Arrived())
        finally:
            session.later(partial(self._settle, session))

    def _settle(self, session: Session) -> None:
        if _napari_is_opening():
            QTimer.singleShot(SOON, partial(self._settle, session))
            return
        arrived = self._scans.pop(session, Arrived())
        if len(arrived.scans) > 1:
            self._offer(session, arrived.scans)


def _napari_is_opening() -> bool:
    """Tell whether napari is in the midst of its paths: it draws its progress, and so runs the loop, between them."""
    frame = sys._getframe()  # noqa: SLF001 nothing else tells who is running the loop
    while frame.f_back is not None and frame.f_code is not ViewerModel.open.__code__:
        frame = frame.f_back
    return frame.f_back is not None
