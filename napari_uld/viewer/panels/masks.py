"""The Masks panel: which pseudo mask is painted on the lesions, and with what parameters."""

import dataclasses
from types import MappingProxyType
from typing import Any

from magicgui.widgets import ComboBox, Container, create_widget
from napari.viewer import Viewer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers import Part
from napari_uld.viewer.session import session_of

# What each kind is called, what it is for, and which parameters it listens to.
KINDS = MappingProxyType(
    {
        MaskKind.BM: ("Bounding map", "1 at the box's centre, 0.5 at its border", ("combine",)),
        MaskKind.ABM: (
            "Size-adaptive bounding map",
            "flat for small lesions, steep for large ones",
            ("small", "medium", "combine"),
        ),
        MaskKind.ELLIPSE: ("Quarter ellipses", "through the ends of both RECIST diameters", ()),
        MaskKind.GRABCUT: ("GrabCut", "grown from the RECIST within the box", ("iterations", "margin")),
    }
)
_LABELS = MappingProxyType(
    {
        "small": ("Small below (px²)", {"min": 1, "max": 100_000, "step": 10}),
        "medium": ("Large from (px²)", {"min": 1, "max": 100_000, "step": 10}),
        "combine": ("Where lesions overlap", {}),
        "iterations": ("Iterations", {"min": 1, "max": 20}),
        "margin": ("Margin (px)", {"min": 1, "max": 200}),
    }
)


class MasksPanel(QWidget):
    """Choose a pseudo mask; it is painted at once, and again whenever a box or a diameter is dragged.

    Parameters
    ----------
    viewer
        The viewer whose open scan is masked.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.session = session_of(viewer)
        choices = [(title, kind) for kind, (title, _, _) in KINDS.items()]
        self.kind = ComboBox(choices=choices, value=self.session.mask_kind, label="Mask")
        self.fields: dict[str, Any] = {
            field.name: create_widget(
                value=getattr(self.session.mask_parameters, field.name),
                annotation=field.type,
                label=_LABELS[field.name][0],
                options=dict(_LABELS[field.name][1]),
            )
            for field in dataclasses.fields(MaskParameters)
        }
        self.form = Container(widgets=[self.kind, *self.fields.values()])
        self.explanation, self.problem = QLabel(), QLabel()
        layout = QVBoxLayout(self)
        layout.addWidget(self.form.native)
        for label in (self.explanation, self.problem):
            label.setWordWrap(True)
            layout.addWidget(label)
        layout.addStretch(1)
        self.problem.setStyleSheet("color: #F0A000")
        self.form.changed.connect(self._choose)
        self.session.view_changed.connect(self._show)
        self.session.case_changed.connect(self._show)
        self._show()

    def _choose(self) -> None:
        parameters = MaskParameters(**{name: widget.value for name, widget in self.fields.items()})
        self.session.choose_mask(self.kind.value, parameters)
        layer = self.session.layer(Part.MASK)
        if layer is not None:
            layer.visible = True
        self._show()

    def _show(self) -> None:
        _, explanation, used = KINDS[self.kind.value]
        for name, widget in self.fields.items():
            widget.visible = name in used
        painter = self.session.painter
        self.explanation.setText(
            f"{explanation[0].upper()}{explanation[1:]}. Painted on accepted lesions and on the one at hand, "
            "on their key slices; drag the box or the diameters to see it follow."
        )
        self.problem.setText("" if painter is None else painter.problem)
