"""What keeps a case's decisions: the review log, saving by itself, what a crash left, what a detector found."""

from collections.abc import Callable
from functools import partial

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.recovery import restore
from napari_uld.lesions.review_log import DISCARDED, append_log, append_mark, log_path
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import keep_findings, save_case
from napari_uld.viewer.state.links import Links


class Keeper:
    """Listens to a case; what cannot be kept is said once.

    Parameters
    ----------
    case
        The open scan.
    warn
        Tells a person.
    soon
        Does something a moment after the last time that it was asked for.
    afterwards
        Does something once what changed was drawn.
    saves_itself
        Whether decisions are saved without being asked for.
    """

    def __init__(
        self,
        case: Case,
        *,
        warn: Callable[[str], None],
        soon: Callable[[Callable[[], None]], object],
        afterwards: Callable[[Callable[[], None]], object],
        saves_itself: Callable[[], bool],
    ) -> None:
        self.case = case
        self._warn = warn
        self._soon = soon
        self._saves_itself = saves_itself
        self._log_works = self._saving_works = self._listens = True
        # The edits so far of an action that is several: they are logged together.
        self._action: list[Edit[Annotation]] = []
        self._links = Links()
        self._links.connect(case.edited, self._log)
        self._links.connect(case.findings_changed, lambda detector: afterwards(partial(self._keep_findings, detector)))
        self._links.connect(case.saved, self._works_again)

    def release(self) -> None:
        """Listen no more, nor save in a moment: who closes a case has asked what becomes of its edits."""
        self._listens = False
        self._links.release()

    def save(self) -> None:
        """Save what changed, where decisions are saved without being asked for."""
        works = self._listens and self._saving_works
        if not works or not self.case.annotations.unsaved or not self._saves_itself():
            return
        try:
            save_case(self.case)
        except AnnotationFileError as error:
            self._saving_works = False
            self._warn(f"The lesions are not saved by themselves until you save them (W): {error}")

    def _works_again(self) -> None:
        self._log_works = self._saving_works = True

    def discard(self) -> None:
        """Say in the log that a person gave the unsaved edits up, so that they are not offered again."""
        self.case.unsaved = {}
        try:
            append_mark(log_path(self.case.path), DISCARDED, self.case.volume.scan_id, self.case.reviewer)
        except AnnotationFileError as error:
            self._warn(f"What was given up will be offered again: {error}")

    def restore(self) -> int:
        """Bring back what a crash left in the log alone; give how many lesions that were."""
        unsaved, self.case.unsaved = self.case.unsaved, {}
        restore(self.case.annotations, unsaved)
        return len(unsaved)

    def _log(self, edit: Edit[Annotation]) -> None:
        """Add a decision to the review log before it is seen; a folder that cannot be written to is mentioned once."""
        self._action.append(edit)
        if not edit.is_last:
            return
        edits, self._action = self._action, []
        self._soon(self.save)
        if not self._log_works:
            return
        try:
            append_log(log_path(self.case.path), edits, self.case.reviewer)
        except AnnotationFileError as error:
            self._log_works = False
            self._warn(f"Decisions are not logged until the lesions are saved: {error}")

    def _keep_findings(self, detector: str) -> None:
        try:
            keep_findings(self.case, detector)
        except AnnotationFileError as error:
            self._warn(f"The findings are not kept for later: {error}")
