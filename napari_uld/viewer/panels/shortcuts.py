"""Keys in a panel: napari's bindings hear the canvas only."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

# Keys that Qt has other names for.
QT_NAMES = {"PageUp": "PgUp", "PageDown": "PgDown", "Escape": "Esc"}


def add_shortcut(panel: QWidget, key: str, act: Callable[[], object]) -> None:
    """Do something when a key, as napari calls it, is pressed while a panel or what is in it has the focus."""
    shortcut = QShortcut(QKeySequence(QT_NAMES.get(key, key)), panel)
    shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    shortcut.activated.connect(lambda: act())
