"""The Masks panel: which pseudo mask is painted on the lesions; GrabCut beside the ellipse; correcting by brush."""

import dataclasses
from types import MappingProxyType
from typing import Any

from magicgui.widgets import ComboBox, Container, create_widget
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.comparison import ELLIPSE_COLOUR, GRABCUT_COLOUR, TRIMAP_COLOURS, TrimapLabel
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.empty import NO_SCAN
from napari_uld.viewer.panels.following import Following
from napari_uld.viewer.panels.legend import swatch
from napari_uld.viewer.panels.scrolled import ScrolledPanel
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools.brush import mask_note
from napari_uld.viewer.tools.keys import key_of
from napari_uld.viewer.tools.mask_comparison import Comparison

# What each kind is called, what it is for, and which parameters it listens to.
KINDS = MappingProxyType(
    {
        MaskKind.BM: ("Bounding map", "1 at the box's centre, 0.5 at its border", ("combine",)),
        MaskKind.ABM: (
            "Size-adaptive bounding map",
            "flat for small lesions, steep for large ones, as every detector learns it: sizes in pixels of 0.8 mm",
            ("small", "medium", "combine"),
        ),
        MaskKind.ELLIPSE: ("Quarter ellipses", "through the ends of both RECIST diameters", ()),
        MaskKind.GRABCUT: ("GrabCut", "grown from the RECIST within the box", ("iterations", "margin")),
    }
)
_LABELS = MappingProxyType(
    {
        "small": ("Small below (px² of 0.8 mm)", {"min": 1, "max": 100_000, "step": 10}),
        "medium": ("Large from (px² of 0.8 mm)", {"min": 1, "max": 100_000, "step": 10}),
        "combine": ("Where lesions overlap", {}),
        "iterations": ("Iterations", {"min": 1, "max": 20}),
        "margin": ("Margin (px)", {"min": 1, "max": 200}),
    }
)


class MasksPanel(ScrolledPanel):
    """Choose a pseudo mask; it is painted at once, and again whenever a box or a diameter is dragged.

    GrabCut can be compared with the ellipses on the lesion at hand, and its mask be corrected by brush.

    Parameters
    ----------
    viewer
        The viewer whose open scan is masked.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.workbench = workbench_in_window(viewer)
        self.session = self.workbench.session
        self._case: Case | None = None
        self._following = Following(self, self.session, self._open)
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
        self.explanation, self.problem, self.comparison, self.note = QLabel(), QLabel(), QLabel(), QLabel()
        self.visible = QCheckBox("Show masks on the lesions")
        self.visible.setToolTip("On the key slices of accepted lesions and of the one at hand")
        self.compare = QCheckBox("Compare GrabCut and ellipse")
        self.compare.setToolTip("Show both masks of the lesion at hand, and what GrabCut starts from")
        self.brush = QPushButton("Correct by brush")
        self.brush.setCheckable(True)
        self.brush.setToolTip("Paint the mask of the lesion at hand on its key slice; every stroke can be undone")
        self.generated = QPushButton("Use the generated mask again")
        self.generated.setToolTip("Take the correction of the lesion at hand away; undo brings it back")
        self._build()
        self._connect()
        self._following.begin()

    def _build(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.visible)
        layout.addWidget(self.form.native)
        for label in (self.explanation, self.problem, self.comparison, self.note):
            label.setWordWrap(True)
        self.problem.setStyleSheet("font-weight: bold")
        buttons = QHBoxLayout()
        for button in (self.brush, self.generated):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            buttons.addWidget(button)
        for widget in (self.explanation, self.problem, self.compare, self.comparison):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        layout.addWidget(self.note)
        layout.addStretch(1)

    def _connect(self) -> None:
        links = self._following.links
        brush, comparison = self.workbench.brush, self.workbench.comparison
        self.visible.clicked.connect(self.session.show_masks)
        self.form.changed.connect(self._choose)
        self.compare.clicked.connect(self._compare)
        self.brush.clicked.connect(self._brush)
        self.generated.clicked.connect(self.workbench.brush.use_generated)
        links.connect((self.session.view_changed, comparison.changed, brush.changed), self._show)

    # -- what the person does --

    def _choose(self) -> None:
        parameters = MaskParameters(**{name: widget.value for name, widget in self.fields.items()})
        self.session.choose_mask(self.kind.value, parameters)
        self.session.needed_layer(Part.MASK)
        self.session.show_masks(True)

    def _compare(self, on: bool) -> None:
        if on:
            self.workbench.comparison.start()
        else:
            self.workbench.comparison.stop()
        self._show()

    def _brush(self, on: bool) -> None:
        if on:
            self.session.show_masks(True)
            self.workbench.brush.start()
        else:
            self.workbench.brush.stop()
        self._show()

    # -- following the case --

    def _open(self, case: Case | None) -> None:
        self._case = case
        if case is not None:
            self._following.case_links.connect((case.rows_changed, case.current_changed), self._show)
        self._show()

    def _show(self) -> None:
        _, explanation, parameters = KINDS[self.kind.value]
        session, case = self.session, self._case
        brush, comparison = self.workbench.brush, self.workbench.comparison
        self.visible.setChecked(session.shows_masks)
        used = {*parameters, *KINDS[MaskKind.GRABCUT][2]} if comparison.on else parameters
        for name, widget in self.fields.items():
            widget.visible = name in used
        self.explanation.setText(
            f"{explanation[0].upper()}{explanation[1:]}. Painted on accepted lesions and on the one at hand, "
            "on their key slices; drag the box or the diameters to see it follow."
        )
        row = None if case is None else case.current
        problem = comparison.problem or ("" if session.painter is None else session.painter.problem)
        if case is None:
            problem = NO_SCAN
        elif row is None:
            problem = problem or "No lesion is in hand: click on its box, or choose it in Review."
        self.problem.setText(problem)
        self.compare.setEnabled(case is not None)
        self.compare.setChecked(comparison.on)
        self.comparison.setText("" if comparison.result is None else report(comparison.result))
        self.brush.setEnabled(row is not None)
        self.brush.setChecked(brush.on)
        self.generated.setEnabled(brush.on or (row is not None and row.corrected_mask is not None))
        notes = [] if case is None else [mask_note(case)]
        if brush.on:
            tools = f"Paint, erase or fill with the layer's tools; {key_of('undo')} takes a stroke back."
            notes = [tools, brush.note, *notes]
        self.note.setText(" ".join(notes))


def report(comparison: Comparison) -> str:
    """Say in HTML what a comparison shows, the layers' colours beside their names."""
    rows = []
    for name, colour, mask in (
        ("GrabCut", GRABCUT_COLOUR, comparison.grabcut),
        ("Quarter ellipses", ELLIPSE_COLOUR, comparison.ellipse),
    ):
        pixels = int(mask.sum())
        area = f"{pixels * comparison.pixel_area:,.1f} mm²"
        rows.append(f"<tr><td>{swatch(colour)} {name}&nbsp;&nbsp;</td>")
        rows.append(f"<td align='right'>{area}&nbsp;&nbsp;</td><td align='right'>{pixels:,} px</td></tr>")
    trimap = ", ".join(
        f"{swatch(TRIMAP_COLOURS[label])} {label.name.lower()}"
        for label in (TrimapLabel.BACKGROUND, TrimapLabel.UNKNOWN, TrimapLabel.FOREGROUND)
    )
    stand_in = f"The ellipse stands in for GrabCut: {comparison.stand_in}.<br>" if comparison.stand_in else ""
    return (
        f"<table>{''.join(rows)}</table><b>Dice {comparison.dice:.3f}</b><br>{stand_in}"
        f"GrabCut's trimap: {trimap}; foreground is {comparison.foreground_share:.0%} of the box.<br>"
        "Drag an end of a diameter to see it all follow."
    )
