"""What a session asks of the window it is in; without one, nothing is asked and nothing happens later."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from napari.utils.notifications import show_info

from napari_uld.ct.entries import ScanEntry
from napari_uld.lesions.annotations import LesionType
from napari_uld.viewer.state.case import Case

Act = Callable[[], object]


class Answer(StrEnum):
    """What to do with unsaved edits."""

    SAVE = "save"
    DISCARD = "discard"
    KEEP_OPEN = "keep open"


class Walk(Protocol):
    """What leads from lesion to lesion over several scans."""

    @property
    def on(self) -> bool:
        """Whether it leads now."""

    @property
    def next_entry(self) -> ScanEntry | None:
        """The scan that it leads to next."""

    def step(self, by: int) -> None:
        """Go to the next (1) or the previous (-1) lesion that waits."""

    def decided(self) -> None:
        """Go on: the lesion at hand was decided on."""

    def skip(self) -> None:
        """Leave the lesion at hand for later and go on."""

    def take_back(self) -> bool:
        """Take back the last edit, whichever scan it was made in; tell whether there was one."""


class Hooks:
    """Questions, clocks and preferences, which the window fills in."""

    def __init__(self) -> None:
        # Whether there is a window to ask questions in; where there is none, what is unsaved is saved unasked.
        self.in_window = False
        self.ask_unsaved: Callable[[Case], Answer] = lambda case: Answer.SAVE
        self.ask_path: Callable[[Case], Path | None] = lambda case: None
        # Whether to bring back what a crash left in the log alone; None to be asked again.
        self.ask_restore: Callable[[Case], bool | None] = lambda case: None
        # What kind of lesion the chosen ones are, and a line about them in place of what was written; None: no answer.
        self.ask_type: Callable[[], LesionType | None] = lambda: None
        self.ask_comment: Callable[[str], str | None] = lambda written: None
        # Does something a moment after the last time that it was asked for; never where no window's loop runs.
        self.soon: Callable[[Callable[[], None]], object] = lambda act: None
        # Does something once napari is through with what it is doing; at once where no window's loop runs.
        self.later: Callable[[Callable[[], None]], object] = lambda act: act()
        # Does something once what changed was drawn; at once where no window's loop runs.
        self.afterwards: Callable[[Callable[[], None]], object] = lambda act: act()
        # Draws nothing in the meantime: what changes is drawn once, afterwards.
        self.still: Callable[[], AbstractContextManager[object]] = nullcontext
        # Does something every so many seconds until what it gives is called; calls the second when the person presses
        # or turns anything; never where no window's loop runs.
        self.every: Callable[[float, Act, Act], Act] = lambda seconds, act, interrupted: lambda: None
        # Opens the next (1) or the previous (-1) scan of a list, where there is one.
        self.turn_to: Callable[[int], object] = lambda by: show_info("Choose a folder of scans in Cases first.")
        # Leads over several scans, where a panel does so.
        self.walk: Walk | None = None
        self.saves_itself: Callable[[], bool] = lambda: False
        self.wheel_turns_slices: Callable[[], bool] = lambda: True
        self.shows_letters: Callable[[], bool] = lambda: True
        self.shows_scale_bar: Callable[[], bool] = lambda: True
        # Slices a second.
        self.cine_rate: Callable[[], float] = lambda: 10.0
