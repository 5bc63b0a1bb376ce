"""Stand-ins for the Look inside panel's tests: what a look gives, and the process that gives it."""

from collections.abc import Generator

import numpy as np
from napari.layers import Layer, Vectors
from napari.utils.color import ColorValue
from pytestqt.qtbot import QtBot

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError
from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.inference.worker import Look
from napari_uld.progress import Progress
from napari_uld.viewer.layers.inside import BOX_COLOURS, Boxes, InsidePart
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.session import Session

GATES = ("C4", "C3", "C2", "C1", "input")
LESION = np.array([[14.0, 18, 46, 42]])


def anchors(*boxes: list[float]) -> PositiveAnchors:
    rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    n = len(rows)
    return PositiveAnchors(rows, np.zeros(n, int), np.ones(n, np.float32), np.zeros(n, int))


def inside(z: int = 4, lesions: np.ndarray = LESION, **changes: object) -> Inside:
    """One lesion with 1, 2 and 4 positive anchors, the four in pairs on two cells."""
    wide, tall, small = [10.0, 20, 50, 40], [20.0, 10, 40, 50], [25.0, 25, 35, 35]
    moved = [x + 4 for x in small]
    found: dict[str, object] = {
        "z": z,
        "lesions": lesions,
        "anchors": {
            Rule.IOU.value: anchors(wide),
            Rule.BM.value: anchors(wide, tall),
            Rule.BMC.value: anchors(small, wide, moved, [x + 4 for x in tall]),
        },
        "cells": 64,
        "per_cell": 2,
        "objectness": np.full((96, 96), 0.25, np.float32),
        "branch": np.full((96, 96), 0.75, np.float32),
        "attention": {},
        "boxes": LESION,
        "scores": np.array([0.81]),
        "detector": "fake f00",
        "operating_point": None,
    }
    return Inside(**(found | changes))  # type: ignore[arg-type]


def one_stage(**changes: object) -> Inside:
    """What a one-stage detector with a segmentation path and gates shows of the same lesion."""
    maps = {features: np.full((96, 96), 0.1 * i, np.float32) for i, features in enumerate(GATES, start=1)}
    own: dict[str, object] = {"anchors": {Rule.IOU.value: anchors([10.0, 20, 50, 40])}, "attention": maps}
    return inside(**(own | changes))


def names(session: Session) -> list[str]:
    return [layer.name for layer in session.viewer.layers]


NOWHERE = inside(
    lesions=np.zeros((0, 4)), anchors={rule: anchors() for rule in Rule}, boxes=np.zeros((0, 4)), scores=np.zeros(0)
)


class FakeLooker:
    """Stands in for the detector's process: gives what it was made with, fails, or waits to be cancelled."""

    def __init__(self, found: Inside | None = None, error: Exception | None = None, waits: bool = False) -> None:
        self.found, self.error, self.waits = found, error, waits
        self.cancelled = self.closed = False
        self.looks: list[Look] = []

    def look_inside(self, volume: CTVolume, look: Look, device: str = "auto") -> Generator[Progress, None, Inside]:
        self.looks.append(look)
        yield Progress(0, 1, "Looking")
        while self.waits:
            yield Progress(0, 1, "Looking")
            if self.cancelled:
                raise CancelledError("Cancelled")
        if self.error is not None:
            raise self.error
        assert self.found is not None
        return self.found

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


def panel_of(session: Session, qtbot: QtBot, looker: FakeLooker) -> InsidePanel:
    panel = InsidePanel(session.viewer, looker)
    qtbot.addWidget(panel)
    return panel


def look(panel: InsidePanel, qtbot: QtBot) -> None:
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)


def layer_of(session: Session, part: InsidePart) -> Layer:
    layer = find_layer(session.viewer, session.case, part)
    assert layer is not None
    return layer


def kinds_drawn(session: Session) -> set[Boxes]:
    """Of which boxes there are lines to be seen."""
    layer = layer_of(session, InsidePart.BOXES)
    assert isinstance(layer, Vectors)
    if not layer.visible:
        return set()
    colours = {kind: np.asarray(ColorValue(colour)) for kind, colour in BOX_COLOURS.items()}
    return {kind for kind, colour in colours.items() if np.isclose(layer.edge_color, colour).all(axis=1).any()}
