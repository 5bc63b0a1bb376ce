"""A table whose every change can be undone: one edit after the other, or several as one action."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from napari_uld.errors import AnnotationError


class HasId(Protocol):
    """A row that stays the same one whatever about it changes."""

    @property
    def id(self) -> str:
        """Its id."""


Row = TypeVar("Row", bound=HasId)


@dataclass(frozen=True)
class Edit(Generic[Row]):
    """One change of the table: what was done, to which row, before and after.

    `part` says which of how many edits that were made as one it is, counted from 1.
    """

    action: str
    before: Row | None
    after: Row | None
    part: tuple[int, int] = (1, 1)

    @property
    def row(self) -> Row:
        """The row that changed: as it is now, or as it was where it is gone."""
        row = self.after or self.before
        if row is None:
            raise AnnotationError("An edit needs a lesion before or after it")
        return row

    @property
    def is_last(self) -> bool:
        """Whether no other edit of the same action comes after it."""
        return self.part[0] == self.part[1]

    def reverse(self) -> "Edit[Row]":
        """Give the edit that takes this one back."""
        return replace(self, action=f"undo {self.action}", before=self.after, after=self.before)


class EditedTable(Generic[Row]):
    """Rows by id, in the order in which they came, with undo and redo without limit."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        # A row that was removed and brought back stands where it stood.
        self._places: dict[str, int] = {}
        self._done: list[tuple[Edit[Row], ...]] = []
        self._undone: list[tuple[Edit[Row], ...]] = []
        self._saved_at: tuple[Edit[Row], ...] | None = None
        # The edits so far of an action that is being made.
        self._action: list[Edit[Row]] | None = None
        self._listeners: list[Callable[[Edit[Row]], None]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(sorted(self._rows.values(), key=lambda row: self._places[row.id]))

    def __getitem__(self, row_id: str) -> Row:
        return self._rows[row_id]

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._rows

    def on_change(self, listener: Callable[[Edit[Row]], None]) -> None:
        """Call `listener` with every edit, undo and redo (an undo comes as the reverse edit).

        Of edits made as one it hears one after the other, once all of them are in the table.
        """
        self._listeners.append(listener)

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Make the edits within one action: all are made or none, and they are undone and done again together."""
        if self._action is not None:
            yield
            return
        edits = self._action = []
        try:
            yield
        except BaseException:
            for edit in reversed(edits):
                self._apply(edit.reverse())
            raise
        finally:
            self._action = None
        if edits:
            self._done.append(_counted(edits))
            self._undone.clear()
            self._tell(self._done[-1])

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to redo."""
        return bool(self._undone)

    def undo(self) -> Edit[Row] | None:
        """Take back the last edit and give the reverse edit, or None where there is nothing to undo.

        Of edits that were made as one all are taken back; the reverse of the first one is given.
        """
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        edits = _counted([edit.reverse() for edit in reversed(self._undone[-1])])
        self._make(edits)
        return edits[-1]

    def redo(self) -> Edit[Row] | None:
        """Do the last undone edit again and give it (of several made as one the first), or None where there is none."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        edits = [replace(edit, action=f"redo {edit.action}") for edit in self._done[-1]]
        self._make(edits)
        return edits[0]

    def take_back(self, edits: Sequence[Edit[Row]]) -> Edit[Row]:
        """Undo edits that were made as one before the table was read from a file; they can be done again.

        Returns
        -------
        The reverse of the first one, as `undo` gives it.

        Raises
        ------
        AnnotationError
            If a row is not as they left it, or there are later edits, which are to be undone first.
        """
        left = {edit.row.id: edit.after for edit in edits}
        if self._done or any(self._rows.get(row_id) != row for row_id, row in left.items()):
            raise AnnotationError("The lesion was changed since then: decide on it anew")
        # Of a file that has them it is unsaved until it is written.
        self._saved_at = ()
        self._undone.append(tuple(edits))
        reverse = _counted([edit.reverse() for edit in reversed(edits)])
        self._make(reverse)
        return reverse[-1]

    @property
    def unsaved(self) -> bool:
        """Whether something changed since the last `mark_saved`."""
        return (self._done[-1] if self._done else None) is not self._saved_at

    def mark_saved(self) -> None:
        """Remember that the table as it is now is on disk."""
        self._saved_at = self._done[-1] if self._done else None

    def _do(self, edit: Edit[Row]) -> None:
        with self.as_one():
            self._apply(edit)
            if self._action is not None:
                self._action.append(edit)

    def _make(self, edits: Sequence[Edit[Row]]) -> None:
        for edit in edits:
            self._apply(edit)
        self._tell(edits)

    def _apply(self, edit: Edit[Row]) -> None:
        if edit.after is None:
            del self._rows[edit.row.id]
        else:
            self._put(edit.after)

    def _tell(self, edits: Sequence[Edit[Row]]) -> None:
        for edit in edits:
            for listener in self._listeners:
                listener(edit)

    def _put(self, row: Row) -> None:
        self._places.setdefault(row.id, len(self._places))
        self._rows[row.id] = row


def _counted(edits: Sequence[Edit[Row]]) -> tuple[Edit[Row], ...]:
    """Give edits that were made as one, each with its part in that."""
    return tuple(replace(edit, part=(number, len(edits))) for number, edit in enumerate(edits, start=1))
