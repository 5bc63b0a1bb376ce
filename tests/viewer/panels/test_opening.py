"""A scan is shown while it is read: slice by slice, said so, and nothing is decided before all of it is there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import Notification

from napari_uld.ct import CTVolume, Filling, ScanEntry
from napari_uld.errors import AnnotationError, ScanError
from napari_uld.lesions.annotations import State
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels import opening
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.plugin import reader
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools.linked import LinkedViews

pytestmark = pytest.mark.usefixtures("qapp")
Look = Callable[[int], None]


@pytest.fixture(autouse=True)
def told_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "AT_ONCE", 0.0)
    monkeypatch.setattr(opening, "OFTEN", 0.0)


@pytest.fixture
def entry(tmp_path: Path) -> ScanEntry:
    return ScanEntry(name="new", kind="dicom", path=tmp_path, slices=10, note="", files=(tmp_path / "a.dcm",))


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch, volume: CTVolume) -> Callable[..., list[str]]:
    """Make the next scan one that arrives file by file; `look` is called after each, `error` comes in the end."""

    def arrive(look: Look = lambda done: None, error: Exception | None = None) -> list[str]:
        ended: list[str] = []
        scan = replace(volume, hu=np.full_like(volume.hu, -1024), name="new", source=volume.source.with_name("new"))

        def read(_entry: ScanEntry) -> Iterator[Filling]:
            try:
                yield Filling(0, 10, scan)
                for z in range(10):
                    scan.hu[z] = volume.hu[z]
                    yield Filling(z + 1, 10, scan, (z,))
                    look(z + 1)
            finally:
                ended.append("closed")
            if error is not None:
                raise error
            return replace(scan, corrections=("a slice was turned",))

        monkeypatch.setattr(opening, "read_gradually", read)
        return ended

    return arrive


def caption(session: Session) -> str:
    return session.viewer.canvas.overlays.text.text


def test_slices_are_there_as_they_arrive_and_in_the_end_the_whole_scan(
    session: Session, entry: ScanEntry, arriving: Callable, volume: CTVolume, shown: list[Notification]
) -> None:
    seen = []

    def look(done: int) -> None:
        seen.append((done, (session.layer(Part.CT).data[4] == volume.hu[4]).all(), caption(session).split("\n")[-1]))

    arriving(look)
    open_entry(session, entry)
    assert [whole for _, whole, _ in seen] == [done >= 5 for done in range(1, 11)]
    assert seen[2][2] == "reading: 3 of 10 files"
    assert session.case.reading is None
    assert session.case.volume.name == "new"
    assert "reading" not in caption(session)
    assert [each.message for each in shown] == ["a slice was turned. This is about new"]
    assert session.case.files == {entry.files[0].resolve()}


def test_what_is_read_at_once_is_not_shown_half(
    session: Session, entry: ScanEntry, arriving: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "AT_ONCE", 60.0)
    before, cases = session.case, []
    session.case_changed.connect(lambda: cases.append(session.case))
    arriving()
    open_entry(session, entry)
    assert cases == [session.case]
    assert session.case is not before


def test_a_scan_that_turns_out_damaged_gives_way_to_the_one_that_was_open(
    session: Session, entry: ScanEntry, arriving: Callable
) -> None:
    before = session.case
    before.decide(before.rows[0].key, State.ACCEPTED)
    rows = [(row.key, row.mark) for row in before.rows]
    arriving(error=ScanError("cut short"))
    with pytest.raises(ScanError, match="cut short"):
        open_entry(session, entry)
    assert session.case is before
    assert [(row.key, row.mark) for row in session.case.rows] == rows
    assert session.layer(Part.CT).data is before.volume.hu
    assert not session.opening
    before.decide(before.rows[1].key, State.REJECTED)
    assert before.annotations.unsaved


def test_with_nothing_open_before_a_damaged_scan_is_taken_away(
    session: Session, entry: ScanEntry, arriving: Callable
) -> None:
    session.viewer.layers.remove(session.layer(Part.CT))
    arriving(error=ScanError("cut short"))
    with pytest.raises(ScanError):
        open_entry(session, entry)
    assert session.case is None
    assert len(session.viewer.layers) == 0


def test_who_closes_it_meanwhile_ends_the_reading(session: Session, entry: ScanEntry, arriving: Callable) -> None:
    def look(done: int) -> None:
        if done == 3:
            session.viewer.layers.remove(session.layer(Part.CT))

    ended = arriving(look)
    open_entry(session, entry)
    assert session.case is None
    assert ended == ["closed"]
    assert not session.opening


def test_nothing_is_marked_or_saved_before_all_of_it_is_there(
    session: Session, entry: ScanEntry, arriving: Callable, tmp_path: Path
) -> None:
    refused = []

    def look(_done: int) -> None:
        with pytest.raises(AnnotationError, match="still being read"):
            session.case.add(3, (10.0, 10.0, 40.0, 40.0))
        refused.append(session.save(tmp_path / "half.lesions.json"))

    arriving(look)
    open_entry(session, entry)
    assert refused == [False] * 10
    assert not (tmp_path / "half.lesions.json").exists()
    session.case.add(3, (10.0, 10.0, 40.0, 40.0))


def test_the_views_from_the_side_fill_in_too(
    session: Session, entry: ScanEntry, arriving: Callable, volume: CTVolume
) -> None:
    views = LinkedViews(session)
    (image, *_), drawn = views.coronal.layers, []
    image.events.set_data.connect(lambda _: drawn.append(image.data.max()))
    arriving()
    open_entry(session, entry)
    assert len(drawn) > 10, "once a file"
    assert drawn[-1] == volume.hu[:, 48].max()


def test_who_looked_around_stays_where_he_is(session: Session, entry: ScanEntry, arriving: Callable) -> None:
    def look(done: int) -> None:
        if done == 4:
            session.show_slice(2)

    arriving(look)
    open_entry(session, entry)
    assert session.z == 2


def test_another_scan_is_not_opened_meanwhile(
    session: Session, entry: ScanEntry, arriving: Callable, monkeypatch: pytest.MonkeyPatch, shown: list[Notification]
) -> None:
    monkeypatch.setattr(reader, "_session", lambda: session)

    def look(done: int) -> None:
        if done == 2:
            assert reader.read_volume(str(entry.path)) == reader.NOTHING

    arriving(look)
    open_entry(session, entry)
    assert "Another scan is being read" in shown[0].message
    assert session.case.volume.name == "new"


@pytest.mark.parametrize(
    ("done", "taken", "shown"), [(0, 0.1, False), (1, 0.001, False), (1, 0.1, True), (9, 0.1, False), (0, 0.3, True)]
)
def test_what_will_surely_take_long_is_shown_as_soon_as_its_first_slice_is_there(
    monkeypatch: pytest.MonkeyPatch, done: int, taken: float, shown: bool
) -> None:
    monkeypatch.setattr(opening, "AT_ONCE", 0.2)
    assert opening._takes_long(Filling(done, 10), taken) is shown
