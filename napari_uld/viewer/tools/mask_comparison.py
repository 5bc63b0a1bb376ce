"""GrabCut beside the quarter ellipses: what each makes of a lesion's RECIST, live while its end points are dragged."""

from dataclasses import dataclass

import cv2
import numpy as np
from napari.layers import Shapes

from napari_uld.ct.windows import Window
from napari_uld.errors import UldError
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.masks import MaskParameters
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.ellipse import window as pixel_window
from napari_uld.masks.grabcut import grabcut_or_ellipse, trimap
from napari_uld.viewer.layers.comparison import ComparisonLayers, TrimapLabel
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import series_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.tool import Tool

# Shapes keep their corners in single precision.
SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class Comparison:
    """The two masks that grow from one RECIST.

    Parameters
    ----------
    trimap
        What GrabCut starts from, uint8 (height, width): `TrimapLabel`s about the box, 0 where GrabCut does not look.
    grabcut, ellipse
        The masks, bool (height, width).
    pixel_area
        Of one pixel in mm^2.
    stand_in
        Why GrabCut's mask is the ellipse, "" where it is its own.
    """

    trimap: np.ndarray
    grabcut: np.ndarray
    ellipse: np.ndarray
    pixel_area: float
    stand_in: str = ""

    @property
    def dice(self) -> float:
        """How far the two agree: twice what they share over what they have."""
        return 2 * float((self.grabcut & self.ellipse).sum()) / float(self.grabcut.sum() + self.ellipse.sum())

    @property
    def foreground_share(self) -> float:
        """Share of the box that the trimap calls foreground; the rest of it is unknown."""
        foreground = float((self.trimap == TrimapLabel.FOREGROUND).sum())
        return foreground / (foreground + float((self.trimap == TrimapLabel.UNKNOWN).sum()))


def compare(
    hu: np.ndarray, recist: Recist, box: Box, window: Window, parameters: MaskParameters, pixel_area: float
) -> Comparison:
    """Make both masks of one lesion.

    Parameters
    ----------
    hu
        (height, width) slice in Hounsfield units.
    recist, box
        Of the lesion on that slice.
    window
        (low, high) HU for GrabCut.
    parameters
        GrabCut's iterations and margin.
    pixel_area
        Of one pixel in mm^2.

    Raises
    ------
    BoxError, RecistError
        If no mask can be made from them.
    """
    shape = (hu.shape[0], hu.shape[1])
    labels = trimap(recist, box, shape)
    x1, y1, x2, y2 = box
    seen = pixel_window(np.array([x1, y1]) - parameters.margin, np.array([x2, y2]) + parameters.margin, shape)
    shown = np.zeros(shape, np.uint8)
    shown[seen] = TrimapLabel.BACKGROUND
    shown[labels == cv2.GC_PR_FGD] = TrimapLabel.UNKNOWN
    shown[labels == cv2.GC_FGD] = TrimapLabel.FOREGROUND
    grabcut, stand_in = grabcut_or_ellipse(
        hu, recist, box, window, iterations=parameters.iterations, margin=parameters.margin
    )
    return Comparison(shown, grabcut, quarter_ellipse_mask(recist, shape), pixel_area, stand_in)


@dataclass(frozen=True)
class _Asked:
    """All that a comparison follows from."""

    key: str
    z: int
    recist: Recist
    box: Box
    parameters: MaskParameters


class MaskComparison(Tool):
    """Compares the masks of the lesion at hand while it is on.

    Parameters
    ----------
    session
        The session whose viewer shows the comparison.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._layers = ComparisonLayers(session.viewer, lambda act: session.later(act))
        self._lines: Shapes | None = None
        self._asked: _Asked | None = None
        self.result: Comparison | None = None
        # Why there is nothing to compare, one sentence.
        self.problem = ""

    @property
    def on(self) -> bool:
        """Whether masks are compared."""
        return self._case is not None

    def start(self) -> None:
        """Compare from now on; the diameters of the lesion at hand are ready to be dragged by their ends."""
        session, case = self._session, self._session.case
        if self.on or case is None:
            return
        self.taken.emit(self)
        self._case = case
        self._links.connect(session.case_changed, self.stop)
        self._links.connect((session.view_changed, case.rows_changed, case.current_changed), self.update)
        session.jump(case.current)
        self.update()
        if case.current is not None and case.current.recist is not None:
            review.hold(session, case.current, Hold.RECIST, "direct")

    def stop(self) -> None:
        """Compare no more; the layers go."""
        session, case = self._session, self._case
        if case is None:
            return
        self._case = None
        self._links.release()
        self._listen(None)
        self._asked = self.result = None
        self.problem = ""
        self._layers.remove()
        if session.painter is not None:
            session.painter.leave_out(None)
        self.changed.emit()

    def update(self, _event: object = None) -> None:
        """Compare what is there now, unless that is what is shown already."""
        session, case = self._session, self._case
        if case is None:
            return
        lines = session.layer(Part.HAND)
        self._listen(lines if isinstance(lines, Shapes) else None)
        asked, problem = self._ask(case)
        if asked is None or asked != self._asked:
            self._asked = asked
            self.result, self.problem = (None, problem) if asked is None else _answer(case, asked)
            if self.result is not None and asked is not None:
                masks = (self.result.trimap, self.result.grabcut, self.result.ellipse)
                self._layers.show(case, asked.z, *masks)
            self.changed.emit()
        self._layers.see(asked is not None and self.result is not None and session.plane == Plane(0, asked.z))
        if session.painter is not None:
            session.painter.leave_out(asked.key if asked is not None and self.result else None)

    def _listen(self, lines: Shapes | None) -> None:
        """Follow the layer of the diameters: during a drag it tells of nothing but new data to draw."""
        if lines is not self._lines:
            if self._lines is not None:
                self._lines.events.set_data.disconnect(self.update)
            if lines is not None:
                lines.events.set_data.connect(self.update)
            self._lines = lines

    def _ask(self, case: Case) -> tuple[_Asked | None, str]:
        """Give what is to be compared, or why there is nothing."""
        row = case.current
        if row is None:
            return None, "Choose a lesion to compare its masks."
        if row.recist is None:
            return None, "Both masks grow from a RECIST; the lesion at hand has none."
        try:
            z = case.volume.z_of(row.native)
        except KeyError:
            return None, f"Slice {row.native} of this lesion is not on disk."
        dragged = _dragged(self._lines, row.key)
        parameters = self._session.mask_parameters
        if dragged is None or np.allclose(dragged.points, row.recist.points, atol=SLACK):
            return _Asked(row.key, z, row.recist, row.box, parameters), ""
        # The box that the lesion gets once the end point is let go.
        return _Asked(row.key, z, dragged, dragged.box(), parameters), ""


def _dragged(lines: Shapes | None, key: str) -> Recist | None:
    """Give a lesion's diameters as they are drawn, or None where they are not."""
    if lines is None:
        return None
    drawn = zip(lines.features["key"], lines.data, lines.shape_type, strict=True)
    diameters = [line for other, line, kind in drawn if other == key and kind == "line"]
    return Recist.from_points([line[:, :0:-1] for line in diameters]) if len(diameters) == 2 else None


def _answer(case: Case, asked: _Asked) -> tuple[Comparison | None, str]:
    """Compare, or say why that is impossible."""
    hu, window = case.volume.hu[asked.z], series_window(case)
    try:
        return compare(hu, asked.recist, asked.box, window, asked.parameters, case.volume.pixel_area), ""
    except UldError as error:
        return None, str(error)
