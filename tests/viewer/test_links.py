from psygnal import Signal, SignalInstance

from napari_uld.viewer.links import Links


class Door:
    opened = Signal()
    closed = Signal()


def test_what_was_connected_together_is_let_go_of_together() -> None:
    door, heard, links = Door(), [], Links()
    links.connect((door.opened, door.closed), lambda: heard.append("moved"))
    links.connect(door.closed, lambda: heard.append("shut"))
    door.opened.emit()
    door.closed.emit()
    assert heard == ["moved", "moved", "shut"]
    links.release()
    door.closed.emit()
    assert len(heard) == 3
    assert all(isinstance(s, SignalInstance) and not len(s) for s in (door.opened, door.closed))


def test_links_that_were_let_go_of_can_be_made_again() -> None:
    door, heard, links = Door(), [], Links()
    for _ in range(2):
        links.connect(door.opened, lambda: heard.append("moved"))
        links.release()
    links.connect(door.opened, lambda: heard.append("moved"))
    door.opened.emit()
    assert heard == ["moved"]
