"""What a person set: the plugin's page of napari's preferences, and which folders open without a question."""

import glob
from dataclasses import dataclass
from pathlib import Path

from napari.settings import get_plugin_settings, get_settings
from platformdirs import user_data_path

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
    hint
        Whether what a person begins with is said in the review; it is said once.
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
    hint: bool = True


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
        hint=page.hint,
    )


def hint_is_seen() -> None:
    """Write down that what a person begins with was said."""
    get_plugin_settings(PLUGIN).review.hint = False


def data_folder() -> Path:
    """Give the folder for what this package keeps for a person."""
    return user_data_path("napari-uld", appauthor=False)


def opens_unasked(root: Path) -> bool:
    """Tell whether folders in `root` open with this plugin, without napari's question which reader to use."""
    readers = get_settings().plugins.extension2reader
    return all(readers.get(pattern) == PLUGIN for pattern in _patterns(root))


def open_unasked(root: Path, agreed: bool) -> None:
    """Have folders in `root` open with this plugin without a question, or be asked about again."""
    plugins, patterns = get_settings().plugins, _patterns(root)
    others = {pattern: reader for pattern, reader in plugins.extension2reader.items() if pattern not in patterns}
    # Taken as a whole: only then is it saved.
    plugins.extension2reader = {**others, **(dict.fromkeys(patterns, PLUGIN) if agreed else {})}


def _patterns(root: Path) -> tuple[str, str]:
    """What napari compares a folder's path, with a slash at its end, with; files have readers by their names."""
    path = glob.escape(str(root.resolve()).rstrip("/\\"))
    return f"{path}/", f"{path}/*/"
