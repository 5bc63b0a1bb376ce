"""Choosing a checkpoint: one that comes with the package, or a file."""

from pathlib import Path

from magicgui.widgets import ComboBox, PushButton
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import CheckpointInfo, bundled_checkpoints, find_checkpoint, read_info


class CheckpointChoice:
    """A list of checkpoints and a button that adds files to it.

    Parameters
    ----------
    panel
        The panel they stand in.
    preferred
        Name or path of the one to begin with; "" for the first.
    """

    def __init__(self, panel: QWidget, preferred: str) -> None:
        self._panel = panel
        self.names = ComboBox(choices=list(bundled_checkpoints()), label="Detector")
        self.open_file = PushButton(text="Open a checkpoint file…")
        self.open_file.changed.connect(self._ask)
        if preferred:
            self._prefer(preferred)

    @property
    def path(self) -> Path:
        """The chosen file.

        Raises
        ------
        CheckpointError
            If it is gone, or there is none to choose.
        """
        if self.names.value is None:
            raise CheckpointError("No checkpoint comes with this installation: open a file.")
        return self.path_of(self.names.value)

    def path_of(self, name: str) -> Path:
        """Give the file of one of the names.

        Raises
        ------
        CheckpointError
            If it is gone.
        """
        return find_checkpoint(name)

    @property
    def info(self) -> CheckpointInfo:
        """What the chosen one says of itself.

        Raises
        ------
        CheckpointError
            If it cannot be read, or there is none to choose.
        """
        return read_info(self.path)

    def info_of(self, name: str) -> CheckpointInfo:
        """What the checkpoint of one of the names says of itself.

        Raises
        ------
        CheckpointError
            If it is gone or cannot be read.
        """
        return read_info(self.path_of(name))

    def add(self, path: Path) -> None:
        """Offer a checkpoint file and choose it.

        Raises
        ------
        CheckpointError
            If the file is none.
        """
        read_info(path)
        name = str(path)
        if name not in self.names.choices:
            self.names.choices = (*self.names.choices, name)
        self.names.value = name

    def enable(self, enabled: bool) -> None:  # noqa: FBT001
        """Let a person choose, or not."""
        self.names.enabled = self.open_file.enabled = enabled

    def _prefer(self, name_or_path: str) -> None:
        if name_or_path in self.names.choices:
            self.names.value = name_or_path
            return
        try:
            self.add(find_checkpoint(name_or_path))
        except CheckpointError as error:
            show_error(f"The preferred detector cannot be used: {error}")

    def _ask(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self._panel, "Open a checkpoint", "", "Checkpoints (*.safetensors)")
        if name:
            try:
                self.add(Path(name))
            except CheckpointError as error:
                show_error(f"No detector can be read from that file: {error}")
