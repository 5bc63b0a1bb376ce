"""The open scan as a viewer shows it: which slice, through which window, what is written on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_info
from psygnal import Signal

from napari_uld.ct.windows import Window
from napari_uld.lesions.findings import Box
from napari_uld.viewer.layers.canvas import Fit, Legend, write_caption
from napari_uld.viewer.layers.directions import shown_axes
from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.layers.parts import Part, find_layer
from napari_uld.viewer.layers.scan import show_voxel, voxel_at, windows_of
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.hooks import Hooks
from napari_uld.viewer.state.rows import Row


class View(Hooks):
    """What is seen of the case that is open in a viewer, and going to what is to be seen.

    Parameters
    ----------
    viewer
        The viewer (a plain `ViewerModel` does).
    """

    view_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self.case: Case | None = None
        self._legend = Legend(viewer)
        self._fit = Fit(viewer, again=self.fit_body)
        # How many acts that are to be drawn once are going on, and whether they changed anything.
        self._acts, self._changed = 0, False

    @property
    def viewer(self) -> ViewerModel:
        """The viewer.

        Raises
        ------
        RuntimeError
            If it was closed.
        """
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer was closed")
        return viewer

    def layer(self, part: Part) -> Layer | None:
        """Give a layer of the open case, or None where somebody removed it."""
        return None if self.case is None else find_layer(self.viewer, self.case, part)

    @property
    def z(self) -> int:
        """Index of the slice that is shown."""
        return self.voxel[0]

    @property
    def plane(self) -> Plane | None:
        """The slice that is shown: across which of the scan's axes, and its index there; None in 3D."""
        dims = self.viewer.dims
        across = dims.order[-3] - self._axis if dims.ndim >= 3 else -1
        if self.layer(Part.CT) is None or dims.ndisplay != 2 or across < 0:
            return None
        return Plane(across, self.voxel[across])

    @property
    def voxel(self) -> tuple[int, int, int]:
        """The voxel (z, y, x) that all views are cut through."""
        ct = self.layer(Part.CT)
        return (0, 0, 0) if ct is None else voxel_at(self.viewer, ct)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Draw what changes in here once, when all of it is done."""
        self._acts += 1
        try:
            yield
        finally:
            self._acts -= 1
            if self._changed and not self._acts:
                self._changed = False
                self._redraw()

    def _redraw(self) -> None:
        """Draw what is marked, where something marks it."""

    def show_slice(self, z: int) -> None:
        """Show the slice with this index."""
        self.show_voxel({0: z})

    def show_voxel(self, voxel: dict[int, float]) -> None:
        """Show these places along some of the scan's axes (0 z, 1 y, 2 x), in voxels."""
        ct = self.layer(Part.CT)
        if ct is not None:
            show_voxel(self.viewer, ct, voxel)

    @property
    def _axis(self) -> int:
        """Which of the viewer's axes the scan's slices lie along: layers of more axes have theirs before it."""
        return self.viewer.dims.ndim - 3

    @property
    def is_axial(self) -> bool:
        """Whether slices are shown one by one, as they were taken: what is drawn on others lies on no slice."""
        dims = self.viewer.dims
        return dims.ndisplay == 2 and dims.order[-2:] == (self._axis + 1, self._axis + 2)

    def show_native(self, native: int) -> None:
        """Show the slice with this number in the scan's files, or say that it is not there."""
        z = self._z_of(native)
        if z is not None:
            self.show_slice(z)

    def jump(self, row: Row | None) -> None:
        """Take a lesion in hand and show its key slice; where slices are cut otherwise, the one through its middle."""
        if self.case is None or row is None:
            return
        with self.at_once():
            self.case.select(row.key)
            self.show_box(row.native, row.box)

    def show_box(self, native: int, box: Box) -> None:
        """Show what is on the slice with this number; where slices are cut otherwise, the one through its middle."""
        z, (x1, y1, x2, y2) = self._z_of(native), box
        if z is not None:
            self.show_voxel({0: z, 1: round((y1 + y2) / 2), 2: round((x1 + x2) / 2)})
            self._bring_into_view(((z, z), (y1, y2), (x1, x2)))

    def _bring_into_view(self, sides: Sequence[tuple[float, float]]) -> None:
        """Move a view that was zoomed or moved to what lies between these voxels (z, y, x), if any of it is out."""
        ct, plane, viewer = self.layer(Part.CT), self.plane, self.viewer
        if ct is None or plane is None:
            return
        axes = list(shown_axes(plane.axis))
        low, high = (np.array(ends)[axes] * ct.scale[axes] + ct.translate[axes] for ends in zip(*sides, strict=True))
        camera = viewer.scene.camera
        reach = np.maximum(np.abs(low - camera.center[-2:]), np.abs(high - camera.center[-2:]))
        if (reach > np.array(viewer.canvas.size) / camera.zoom / 2).any():
            camera.center = (camera.center[0], *(low + high) / 2)

    def _z_of(self, native: int) -> int | None:
        try:
            return None if self.case is None else self.case.volume.z_of(native)
        except KeyError:
            show_info(f"Slice {native} of this lesion is not on disk.")
            return None

    @property
    def window(self) -> tuple[float, float] | None:
        """The window that the CT is shown with, (low, high) HU."""
        ct = self.layer(Part.CT)
        if not isinstance(ct, Image):
            return None
        low, high = ct.contrast_limits
        return float(low), float(high)

    @property
    def windows(self) -> dict[str, Window]:
        """The windows to choose from: the series' own and the presets, (low, high) HU."""
        return {} if self.case is None else windows_of(self.case)

    def set_window(self, name: str) -> None:
        """Show the CT through one of `windows`."""
        ct = self.layer(Part.CT)
        if isinstance(ct, Image):
            ct.contrast_limits = self.windows[name]

    def fit_body(self) -> None:
        """Zoom to the body on the slice that is shown, leaving the air and the table out."""
        ct = self.layer(Part.CT)
        if self.case is not None and ct is not None:
            plane = self.plane or Plane(0, self.z)
            self._fit.fit(ct, plane.axis, self.case.phases.shown.hu.take(plane.index, axis=plane.axis))

    def show_caption(self) -> None:
        """Write on the canvas what a reader of CT looks for first: which slice, which window."""
        plane = self.plane
        write_caption(self.viewer, self.case, plane, self.window)
        across = None if plane is None else plane.axis
        letters, bar = self.shows_letters(), self.shows_scale_bar()
        self._legend.show(self.viewer, self.case, across, letters=letters, bar=bar)
        self.view_changed.emit()
