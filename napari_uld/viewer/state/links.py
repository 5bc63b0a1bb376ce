"""Connections to signals that are made together and let go of together."""

from collections.abc import Callable
from typing import Any


class Links:
    """What one object hears of another, as long as it does.

    psygnal's signals and napari's event emitters both have `connect` and `disconnect`.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def connect(self, signals: Any, slot: Callable[..., Any], **how: Any) -> None:
        """Have a slot called by a signal, or by each of several."""
        for signal in signals if isinstance(signals, tuple) else (signals,):
            signal.connect(slot, **how)
            self._made.append((signal, slot))

    def release(self) -> None:
        """Disconnect everything."""
        for signal, slot in self._made:
            signal.disconnect(slot)
        self._made.clear()
