"""What is known of the scans of each folder that was looked through, kept in one small file of the person's.

Several windows write it: each changes what it knows of one scan in the file as it is then.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_uld.errors import AnnotationFileError, CaseListError, FileChangedError
from napari_uld.lesions import storage
from napari_uld.lesions.annotations import now
from napari_uld.lesions.json_models import FileModel, Model, NewerVersionError, TimeField, dump, parse_file, unicode_of
from napari_uld.viewer.state.case import Counts
from napari_uld.viewer.state.settings import data_folder

# How often a change is tried that another window's came before.
TRIES = 20
LOCK_TIMEOUT = 2.0  # seconds


class Known(Model):
    """What is known of one scan: how far its review was when it was counted, done or not, opened last when."""

    annotated: int = 0
    found: int = 0
    decided: int = 0
    counted: float = Field(default=0.0, description="seconds since 1970; 0 where it never was")
    done: bool = False
    opened: TimeField = ""

    @property
    def counts(self) -> Counts | None:
        """How far its review was, or None where that was never counted."""
        return Counts(self.annotated, self.found, self.decided) if self.counted else None


class Folder(Model):
    """What is known of a folder: when it was looked through last, which scan was opened last, and of its scans."""

    opened: TimeField = ""
    last: str = ""
    scans: Mapping[str, Known] = Field(default_factory=dict)


class CasesFile(FileModel):
    """The whole file."""

    FORMAT = "napari-uld cases"
    VERSION = 1
    format: Literal["napari-uld cases"] = "napari-uld cases"
    version: Literal[1] = 1
    folders: Mapping[str, Folder] = Field(default_factory=dict)


class CaseStore:
    """The file, read whenever something is asked and written whenever something changes.

    Parameters
    ----------
    path
        The file; its folder is made where it is missing. None for the one of the person's data folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or data_folder() / "cases.json"

    def folders(self) -> Mapping[str, Folder]:
        """Give what is known of each folder, by its path.

        Raises
        ------
        CaseListError
            If the file cannot be read; a damaged one stays beside it, and what its backup knows goes on.
        """
        return self._read()[0].folders

    def folder(self, root: Path) -> Folder:
        """Give what is known of a folder, as `folders`."""
        return self.folders().get(_name(root), Folder())

    def look_through(self, root: Path) -> None:
        """Write down that a folder is looked through now, as `update`."""
        self._change(root, lambda folder: folder.model_copy(update={"opened": now()}))

    def update(self, root: Path, key: str, *, is_last: bool = False, **known: object) -> None:
        """Change what is known of one scan; what other windows know of it and others stays.

        Parameters
        ----------
        root, key
            The folder and its scan.
        is_last
            Whether it is the one that was opened last.
        known
            Fields of `Known`.

        Raises
        ------
        CaseListError
            If it cannot be written.
        """

        def changed(folder: Folder) -> Folder:
            scan = folder.scans.get(key, Known()).model_copy(update=known)
            last = {"last": key} if is_last else {}
            return folder.model_copy(update={"scans": {**folder.scans, key: scan}, **last})

        self._change(root, changed)

    def _change(self, root: Path, change: Callable[[Folder], Folder]) -> None:
        name = _name(root)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(TRIES):
                content, fingerprint = self._read()
                folders = {**content.folders, name: change(content.folders.get(name, Folder()))}
                data = dump(content.model_copy(update={"folders": folders}).model_dump(mode="json"), self.path)
                try:
                    storage.save(
                        self.path,
                        data,
                        read_fingerprint=fingerprint,
                        readable=self._is_readable,
                        timeout=LOCK_TIMEOUT,
                    )
                except FileChangedError:
                    continue
                return
        except (AnnotationFileError, OSError) as error:
            raise CaseListError(f"What is known of the scans of {root} cannot be written: {error}") from error
        raise CaseListError(
            f"What is known of the scans of {root} cannot be written: other programs keep writing {self.path}"
        )

    def _read(self) -> tuple[CasesFile, str]:
        """Give what the file holds, its backup where it is damaged, and the file's own fingerprint."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return CasesFile(), storage.ABSENT
        except OSError as error:
            raise CaseListError(f"Cannot read {self.path}: {error.strerror or error}; see that you may") from error
        try:
            return self._parsed(data), storage.fingerprint_of(data)
        except NewerVersionError as error:
            raise CaseListError(str(error)) from error
        except AnnotationFileError:
            # The next change keeps it as `.damaged`.
            return self._backup(), storage.fingerprint_of(data)

    @property
    def damage(self) -> str:
        """What to tell a person of a damaged file; "" where it is whole."""
        try:
            self._parsed(self.path.read_bytes())
        except (OSError, NewerVersionError):
            return ""
        except AnnotationFileError as error:
            kept = storage.damaged_path(self.path).name
            return (
                f"The list of scans was damaged: it is as before its last change; "
                f"the damaged file is kept as {kept}. {error}"
            )
        return ""

    def _backup(self) -> CasesFile:
        try:
            return self._parsed(storage.backup_path(self.path).read_bytes())
        except (OSError, AnnotationFileError):
            return CasesFile()

    def _parsed(self, data: bytes) -> CasesFile:
        return parse_file(CasesFile, data, self.path, "folder")

    def _is_readable(self, data: bytes) -> bool:
        try:
            self._parsed(data)
        except AnnotationFileError:
            return False
        return True


def _name(root: Path) -> str:
    return unicode_of(str(root.resolve()))
