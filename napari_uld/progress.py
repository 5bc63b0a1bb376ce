"""How long work tells how far it is: generators that yield `Progress` and return their result."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """One step of long work.

    Parameters
    ----------
    done, total
        Units finished and units in all.
    message
        What is being done, for a person to read.
    """

    done: int
    total: int
    message: str = ""


# Long work yields at least every half second; closing the generator cancels it.
Work = Generator[Progress, None, Result]


def finish(work: Work[Result], report: Callable[[Progress], None] | None = None) -> Result:
    """Run `work` to its end, hand each step to `report` and give back its result."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            return stop.value
        if report is not None:
            report(step)


def within(work: Work[Result], done: int, total: int, name: str = "") -> Work[Result]:
    """Run `work` as one unit of more: its steps' messages are told, after a name, with `done` units of `total`."""
    while True:
        try:
            step = next(work)
        except StopIteration as stop:
            return stop.value
        yield Progress(done, total, f"{name}: {step.message}" if name else step.message)
