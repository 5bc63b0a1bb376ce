"""A person's way through a queue in a real window, by keys alone, until the program ends all of a sudden.

    python -m tests.viewer.a_queue FOLDER COUNT

Decides on so many suggestions, one every third of a second: faster than a person, so that the test is short. Prints
what the queue says of all that is decided as JSON, and is then killed.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import notification_manager
from qtpy.QtTest import QTest

from napari_uld.viewer.panels.mining import MiningPanel
from napari_uld.viewer.state import case_store
from napari_uld.viewer.state.queue import Fate
from napari_uld.viewer.state.settings import PLUGIN

from .a_day import PATIENCE, Hands
from .queued import EACH

# Accept, reject, measure and accept, one after the other.
KEYS = ("G", "N", "MG", "N", "G")


def main(folder: Path, count: int) -> None:
    """Decide on so many."""
    case_store.data_folder = lambda: folder.parent / "data"
    notification_manager.notification_ready.connect(lambda note: sys.stderr.write(f"{note.message}\n"))
    hands = Hands()
    _, cases = hands.viewer.window.add_plugin_dock_widget(PLUGIN, "Cases")
    _, panel = hands.viewer.window.add_plugin_dock_widget(PLUGIN, "Mining", tabify=True)
    assert isinstance(panel, MiningPanel)
    hands.session.ask_restore = lambda case: True
    cases.show_folder(folder)
    wait_for(lambda: panel.queue is not None and not panel.reading)
    QTest.qWait(200)
    hands.click(panel.view.start)
    scans = set()
    for number in range(count):
        QTest.qWait(150)
        current = panel.queue.current
        if current.fate is not Fate.PENDING:
            # It was decided on before the program ended, and came back with its scan.
            hands.press("J")
            current = panel.queue.current
        assert current.fate is Fate.PENDING
        assert hands.session.case.current.key == current.row.key
        new = hands.session.case.volume.name not in scans
        scans.add(hands.session.case.volume.name)
        for key in KEYS[number % len(KEYS)]:
            hands.press(key)
        assert panel.queue.find(current.key).fate in (Fate.ACCEPTED, Fate.REJECTED)
        if number == EACH and new:
            take_back_over_scans(hands)
    decided = [item for item in panel.queue.items if item.fate in (Fate.ACCEPTED, Fate.REJECTED)]
    told = [[item.entry.name, item.row.key, item.fate.value, item.row.recist is not None] for item in decided]
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def take_back_over_scans(hands: Hands) -> None:
    """Undo the first decision in this scan and the last one in the scan before, and decide otherwise."""
    here = hands.session.case.volume.name
    hands.press("U")
    assert hands.session.case.volume.name == here
    hands.press("U")
    assert hands.session.case.volume.name != here
    hands.press("N")
    assert hands.session.case.volume.name == here
    hands.press("N")


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    waited = 0
    while not holds() and waited < PATIENCE * 10:
        QTest.qWait(100)
        waited += 1
    assert holds()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
