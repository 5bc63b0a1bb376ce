"""Slices that play by themselves."""

from collections.abc import Callable

import pytest

from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import cine
from napari_uld.viewer.tools.keys import KEYS


class Clock:
    """Stands in for the window's clock."""

    def __init__(self) -> None:
        self.going = False

    def __call__(self, seconds: float, act: Callable[[], object], interrupted: Callable[[], object]) -> object:
        self.seconds, self.tick, self.interrupt, self.going = seconds, act, interrupted, True
        return self.end

    def end(self) -> None:
        self.going = False


@pytest.fixture
def clock(session: Session) -> Clock:
    session.every = clock = Clock()
    return clock


def play(session: Session) -> None:
    next(key for key in KEYS if "cine" in key.title).act(session)


def test_slices_play_from_the_one_that_is_shown_towards_the_feet_and_start_over(session: Session, clock: Clock) -> None:
    session.show_slice(1)
    session.cine_rate = lambda: 25.0
    play(session)
    assert clock.seconds == pytest.approx(0.04)
    seen = []
    for _ in range(3):
        clock.tick()
        seen.append(session.z)
    assert seen == [0, session.case.volume.shape[0] - 1, session.case.volume.shape[0] - 2]


def test_the_same_key_stops_and_plays_on_from_there(session: Session, clock: Clock) -> None:
    session.show_slice(5)
    play(session)
    clock.tick()
    play(session)
    assert not clock.going
    assert session.z == 4
    play(session)
    clock.tick()
    assert session.z == 3


def test_whatever_the_person_does_stops_it(session: Session, clock: Clock) -> None:
    play(session)
    clock.interrupt()
    assert not clock.going


def test_a_side_view_plays_its_own_slices(session: Session, clock: Clock) -> None:
    session.viewer.dims.order = (1, 0, 2)
    before = session.voxel
    play(session)
    clock.tick()
    assert session.voxel == (before[0], before[1] + 1, before[2])


def test_it_ends_where_there_are_no_slices_any_more(session: Session, clock: Clock) -> None:
    play(session)
    session.viewer.dims.ndisplay = 3
    clock.tick()
    assert not clock.going
    play(session)
    assert not clock.going
    session.viewer.dims.ndisplay = 2
    play(session)
    session.viewer.layers.remove(session.layer(Part.CT))
    clock.tick()
    assert not clock.going


def test_without_a_window_nothing_plays(session: Session) -> None:
    before = session.z
    play(session)
    assert session.z == before
    cine.stop(session)
