"""What a data set's table lists and nobody can train or score on: counted, and told in one line."""

from collections.abc import Collection
from pathlib import Path

from napari_uld.errors import BoxError
from napari_uld.lesions.annotations import Annotation, Source, State
from napari_uld.lesions.boxes import RECIST_MARGIN, Box, in_image

_PNG = b"\x89PNG\r\n\x1a\n"
# How many lines of the table a note names for each reason.
NAMED = 3


def image_size(png: Path) -> tuple[int, int] | None:
    """Width and height of a PNG by its header; None where that cannot be read."""
    try:
        with png.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    if len(head) < 24 or head[:8] != _PNG:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


class LeftOut:
    """Counts the rows of a table that are left out, by reason, and the boxes that are cut.

    Parameters
    ----------
    table
        The file, for the note.
    split
        Which of its splits is looked at.
    sources
        Whose markings are asked for; None for all.
    """

    def __init__(self, table: Path, split: str, sources: Collection[Source] | None = None) -> None:
        self.table = table
        self.split = split
        self.sources = sources
        self.listed = 0
        self._reasons: dict[str, list[str]] = {}
        self._cut: list[str] = []

    def takes(self, line: str, lesion: Annotation, on_disk: bool, size: tuple[int, int] | None) -> Box | None:
        """Give the box to use a row with, None where it is left out.

        Parameters
        ----------
        line
            Where it is listed, for the note.
        on_disk
            Whether its image is there.
        size
            The image's width and height; None where it cannot be read.
        """
        self.listed += 1
        reason = self._reason(lesion, on_disk, size)
        if reason or size is None:
            self._reasons.setdefault(reason, []).append(line)
            return None
        try:
            box = in_image(lesion.box, size)
        except BoxError as error:
            self._reasons.setdefault("whose box is none on its image", []).append(f"{line}: {error}")
            return None
        # DeepLesion's own boxes have a margin about the measurement, which may reach beyond the image.
        if max(abs(a - b) for a, b in zip(box, lesion.box, strict=True)) <= RECIST_MARGIN:
            return lesion.box
        self._cut.append(line)
        return box

    def _reason(self, lesion: Annotation, on_disk: bool, size: tuple[int, int] | None) -> str:
        """Why a row is left out whatever its box, "" where it is not."""
        if lesion.noisy:
            return "marked as possibly noisy"
        if lesion.state is not State.ACCEPTED:
            return "not accepted by a person"
        if self.sources is not None and lesion.source not in self.sources:
            return f"{lesion.source}, which was not asked for"
        if not on_disk:
            return "without their image on disk"
        return "whose image is damaged" if size is None else ""

    @property
    def note(self) -> str:
        """One line about all of it; "" where every row is used as it is."""
        parts = []
        if self._reasons:
            count = sum(map(len, self._reasons.values()))
            why = "; ".join(f"{len(lines)} {reason} ({_some(lines)})" for reason, lines in self._reasons.items())
            parts.append(f"{count} of {self.listed} rows are left out: {why}")
        if self._cut:
            parts.append(f"{len(self._cut)} boxes are cut at their image's edge ({_some(self._cut)})")
        return f"{self.table}, split {self.split}: {'; '.join(parts)}" if parts else ""


def _some(lines: list[str]) -> str:
    more = len(lines) - NAMED
    return ", ".join(lines[:NAMED]) + (f" and {more} more" if more > 0 else "")
