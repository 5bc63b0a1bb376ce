"""What there is to compare on a scan: the annotation, every checkpoint, and findings of detectors that are no more."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.method_list import Choice
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import ANNOTATION, marked_by
from napari_uld.viewer.state.found import short_names

NOT_RUN = "not run on this scan"
UNFIT = "cannot be used"


class Choices:
    """Knows which checkpoint made which findings.

    Parameters
    ----------
    checkpoints
        The checkpoints that there are.
    """

    def __init__(self, checkpoints: CheckpointChoice) -> None:
        self._checkpoints = checkpoints
        self._infos: dict[str, CheckpointInfo] = {}
        # The detectors of the checkpoints that ran, by name.
        self._ran: dict[str, str] = {}

    def ran(self, name: str, detector: str) -> None:
        """Take note that a checkpoint's findings are this detector's."""
        self._ran[name] = detector

    def phases_of(self, name: str) -> tuple[str, ...]:
        """The phases that a checkpoint's detector sees together; what cannot be read says so when it is run."""
        info = self._info(name)
        return () if isinstance(info, CheckpointError) else info.phases

    def has_run(self, name: str, case: Case) -> bool:
        """Whether a checkpoint's findings are open on a scan, which ran under another name maybe."""
        return self._detector_of(name, case.findings) in case.findings

    def on(self, case: Case | None) -> list[Choice]:
        """Give what there is to compare, and how it stands on a scan."""
        found = {} if case is None else case.findings
        counts = {detector: f"{int((~each.negative).sum())} found" for detector, each in found.items()}
        people = 0 if case is None else len(marked_by(case, ANNOTATION))
        marked = "" if case is None else f"{people} lesion{'' if people == 1 else 's'}"
        tip = "What people marked on this scan or accepted of what was found"
        choices = [Choice(ANNOTATION, "The annotation", marked, tip, ANNOTATION if people else "")]
        for name in map(str, self._checkpoints.names.choices):
            detector, info = self._detector_of(name, found), self._info(name)
            unfit = isinstance(info, CheckpointError)
            note = counts.get(detector) or (UNFIT if unfit else NOT_RUN)
            tip = str(info) if isinstance(info, CheckpointError) else f"{info.title}: {name}"
            choices.append(Choice(name, _title(name), note, tip, detector if detector in found else ""))
        known, names = {choice.method for choice in choices}, short_names(found)
        choices += [
            Choice(detector, names[detector], counts[detector], f"Findings beside the scan, by {detector}", detector)
            for detector in found
            if detector not in known
        ]
        titles = Counter(choice.title for choice in choices)
        return [choice if titles[choice.title] == 1 else replace(choice, title=choice.key) for choice in choices]

    def _info(self, name: str) -> CheckpointInfo | CheckpointError:
        if name not in self._infos:
            try:
                self._infos[name] = self._checkpoints.info_of(name)
            except CheckpointError as error:
                # Not kept: the file may be put back.
                return error
        return self._infos[name]

    def _detector_of(self, name: str, found: Collection[str]) -> str:
        """Name the detector of a checkpoint; "" for one that none of the findings can be of: its file is not hashed."""
        info = self._info(name)
        if name not in self._ran and not isinstance(info, CheckpointError):
            methods = {detector.rpartition(" ")[0] for detector in found}
            try:
                return info.detector if info.name in methods else ""
            except CheckpointError:
                return ""
        return self._ran.get(name, "")


def _title(name: str) -> str:
    """Of a file, which is named by its path, its own name and its folder's say enough; a run's is the folder's."""
    parts = name.replace("\\", "/").removesuffix(".safetensors").split("/")
    return "/".join(parts[-2:]) if len(parts) > 1 else name
