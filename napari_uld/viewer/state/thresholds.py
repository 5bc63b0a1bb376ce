"""From which score on findings are shown."""

from napari_uld.lesions.findings import DEFAULT_THRESHOLD
from napari_uld.viewer.state.settings import settings

# Key of what a person chose before there were findings.
ANY = ""


class Thresholds:
    """The lowest score that is shown of each detector's findings; what a person chooses holds for every scan.

    Scores of different detectors are not comparable, so each detector has its own: the one that a person chose, else
    the one of the preferences, else the detector's operating point.
    """

    def __init__(self) -> None:
        self._chosen: dict[str, float] = {}

    def choose(self, detector: str, score: float) -> None:
        """Show a detector's findings from this score on; `ANY` means the first detector to come."""
        self._chosen[detector] = score

    def arrived(self, detector: str) -> None:
        """Take what was chosen before there were findings to be meant for these."""
        if ANY in self._chosen:
            self._chosen[detector] = self._chosen.pop(ANY)

    def of(self, detector: str, operating_point: float | None) -> float:
        """Give the lowest score that is shown of a detector with this operating point."""
        if detector in self._chosen:
            return self._chosen[detector]
        preferred = settings().score_threshold
        if preferred is not None:
            return preferred
        return DEFAULT_THRESHOLD if operating_point is None else operating_point
