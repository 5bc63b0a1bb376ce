"""What a person set on the plugin's page of napari's preferences."""

from dataclasses import dataclass

from napari.settings import get_plugin_settings

from napari_uld.lesions.annotations import default_reviewer

PLUGIN = "napari-uld"
DEVICES = ("auto", "cuda", "mps", "cpu")


@dataclass(frozen=True)
class ReviewSettings:
    """The settings in force.

    Parameters
    ----------
    reviewer
        Who decides; the login name unless the preferences say otherwise.
    device
        Where detectors run.
    score_threshold
        Findings below it are not shown; None for each detector's operating point.
    checkpoint
        Name of a bundled checkpoint, or a path; "" for the first bundled one.
    auto_save
        Whether decisions are saved a moment after they were made.
    wheel_turns_slices
        Whether the wheel turns slices and Ctrl zooms, or the other way round, as napari has it.
    letters
        Whether R, L, A, P, H and F stand at the edges of the views.
    scale_bar
        Whether the main view has a scale bar.
    cine_rate
        Slices a second that cine plays.
    """

    reviewer: str
    device: str = "auto"
    score_threshold: float | None = None
    checkpoint: str = ""
    auto_save: bool = True
    wheel_turns_slices: bool = True
    letters: bool = True
    scale_bar: bool = True
    cine_rate: float = 10.0


def settings() -> ReviewSettings:
    """Read the preferences."""
    page = get_plugin_settings(PLUGIN).review
    return ReviewSettings(
        reviewer=page.reviewer or default_reviewer(),
        device=page.device,
        score_threshold=page.score_threshold or None,
        checkpoint=page.checkpoint,
        auto_save=page.auto_save,
        wheel_turns_slices=page.wheel_turns_slices,
        letters=page.letters,
        scale_bar=page.scale_bar,
        cine_rate=page.cine_rate,
    )
