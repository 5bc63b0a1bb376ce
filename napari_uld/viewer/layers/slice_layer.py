"""Layers that a tool shows on one slice: made when they are first needed, hidden in between, gone with their case.

None is a layer of shapes: napari ends the process at times when one of those goes.
"""

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import TypeVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Vectors

from napari_uld.viewer.layers.eye import Eye
from napari_uld.viewer.layers.marks import SPATIAL, Drawn, Plane, show_marks
from napari_uld.viewer.layers.parts import find_layer, geometry, insert_layer, metadata
from napari_uld.viewer.state.case import Case

AnyLayer = TypeVar("AnyLayer", bound=Layer)


class SliceLayer:
    """One layer of an open case.

    Parameters
    ----------
    viewer
        The viewer that it is in.
    part
        Which layer it is; the value is its name.
    under
        The parts that it lies under.
    """

    def __init__(self, viewer: ViewerModel, part: StrEnum, under: Collection[StrEnum]) -> None:
        self._viewer = viewer
        self._part = part
        self._under = under
        self._eye: Eye | None = None
        self._something = False

    def of(self, case: Case, make: Callable[[], AnyLayer]) -> AnyLayer:
        """Give the case's layer, made where there is none yet or somebody removed it."""
        layer = find_layer(self._viewer, case, self._part)
        made = None
        if layer is None:
            layer = made = make()
            layer.name, layer.metadata = self._part.value, metadata(case, self._part)
            layer.editable = False
            insert_layer(self._viewer, case, layer, under=self._under)
        if self._eye is None or self._eye.layer is not layer:
            self._eye = Eye(layer, lambda: self.see(self._something))
        return made or layer

    @property
    def layer(self) -> Layer | None:
        """The layer, or None before it was needed and once it is gone."""
        there = self._eye is not None and self._eye.layer in self._viewer.layers
        return self._eye.layer if there and self._eye is not None else None

    def see(self, something: bool) -> None:
        """Say whether there is something to be seen; a person may shut the layer's eye all the same."""
        self._something = something
        if self._eye is not None:
            self._eye.show(something)

    def open(self) -> None:
        """Let it be seen again where a person hid it."""
        if self._eye is not None:
            self._eye.open()

    def shut(self) -> None:
        """Hide it until it is opened."""
        if self._eye is not None:
            self._eye.shut()

    def remove(self) -> None:
        """Take it away."""
        layer = self.layer
        if layer is not None:
            self._viewer.layers.remove(layer)
        self._eye = None


class SliceLines(SliceLayer):
    """Lines on one slice, as thin on the screen whatever the zoom.

    Parameters
    ----------
    viewer, part, under
        As of any `SliceLayer`.
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        part: StrEnum,
        under: Collection[StrEnum],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        super().__init__(viewer, part, under)
        self._later = later
        self.drawn: Sequence[Drawn] = ()
        self._plane = Plane(0, 0)
        # Of what the layer shows; None where that is not what is drawn.
        self._zoom: float | None = None
        viewer.scene.camera.events.zoom.connect(self._zoomed)

    def draw(self, case: Case, drawn: Sequence[Drawn], z: int) -> None:
        """Draw lines on slice `z` in place of those that were drawn before; what comes last lies over the others."""
        self.of(case, lambda: _lines_layer(case))
        self.drawn, self._plane, self._zoom = drawn, Plane(0, z), None
        self._fill()

    def see(self, something: bool) -> None:
        """Say whether there is something to be seen; what is hidden is filled when it is seen again."""
        super().see(something and bool(self.drawn))
        self._fill()

    def release(self) -> None:
        """Take it away for good."""
        self.remove()
        self._viewer.scene.camera.events.zoom.disconnect(self._zoomed)

    def _fill(self) -> None:
        layer, zoom = self.layer, self._viewer.scene.camera.zoom
        # napari draws a hidden layer's colours on what it showed before.
        if isinstance(layer, Vectors) and layer.visible and self._zoom != zoom:
            self._zoom = zoom
            show_marks(layer, self.drawn, self._plane, zoom)

    def _zoomed(self) -> None:
        if self.layer is not None and self.layer.visible:
            self._later(self._fill)


def _lines_layer(case: Case) -> Vectors:
    return Vectors(
        np.zeros((0, 2, SPATIAL)),
        **geometry(case),
        ndim=SPATIAL,
        vector_style="line",
        opacity=1.0,
        blending="translucent_no_depth",
        visible=False,
    )
