"""Layers that have nothing to show are hidden: an empty one costs a step nearly as much as a full one."""

from collections.abc import Callable

from napari.layers import Layer


class Eye:
    """Hides a layer while there is nothing on it; whether it is to be seen otherwise stays a person's choice.

    Parameters
    ----------
    layer
        The layer, with something on it where it is visible.
    opened
        Called when the person wants to see the layer again: what is hidden is not kept up to date.
    """

    def __init__(self, layer: Layer, opened: Callable[[], object]) -> None:
        self.layer = layer
        self._opened = opened
        self._wanted = True
        self._something = bool(layer.visible)
        self._busy = False
        layer.events.visible.connect(self._looked)

    def show(self, something: bool) -> bool:
        """Tell whether there is something on the layer now; give whether it is seen, and so to be filled."""
        self._something = something
        seen = something and self._wanted
        # napari draws everything again even where that changes nothing.
        if self.layer.visible != seen:
            self._busy = True
            self.layer.visible = seen
            self._busy = False
        return seen

    def open(self) -> None:
        """Let the layer be seen again."""
        if not self._wanted:
            self._wanted = True
            self.show(self._something)
            self._opened()

    def shut(self) -> None:
        """Hide the layer until it is opened."""
        self._wanted = False
        self.show(self._something)

    def release(self) -> None:
        """Follow the layer no more."""
        self.layer.events.visible.disconnect(self._looked)

    def _looked(self) -> None:
        """A person shut or opened the eye."""
        if not self._busy:
            self._wanted = bool(self.layer.visible)
            if self._wanted:
                self._opened()
