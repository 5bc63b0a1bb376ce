"""A file is replaced whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_uld.files import replace_file


def write(data: bytes) -> Callable[[Path], object]:
    return lambda partial: partial.write_bytes(data)


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed and renamed, in order."""
    names: dict[int, str] = {}
    order: list[str] = []
    opened, flushed, replaced = os.open, os.fsync, os.replace

    def open_(path: Path, *rest: int) -> int:
        descriptor = opened(path, *rest)
        names[descriptor] = Path(path).name
        return descriptor

    def fsync(descriptor: int) -> None:
        order.append(f"fsync {names[descriptor]}")
        flushed(descriptor)

    def replace(source: Path, target: Path) -> None:
        order.append(f"replace {target.name}")
        replaced(source, target)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return order


def test_a_file_is_on_the_disk_before_it_takes_the_name_and_the_name_is_flushed_after_it(
    tmp_path: Path, touched: list[str]
) -> None:
    replace_file(tmp_path / "f", write(b"new"))
    assert touched == ["fsync .f.partial", "replace f", f"fsync {tmp_path.name}"]
    assert (tmp_path / "f").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_version_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f"
    replace_file(path, write(b"old"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, write(b"new"))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("f", b"old")]


def test_a_writer_that_stops_half_way_leaves_the_old_version_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    replace_file(path, write(b"old"))

    def interrupted(partial: Path) -> None:
        partial.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, interrupted)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("f", b"old")]


def test_a_folder_that_cannot_be_flushed_loses_no_saved_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync
    count = 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 2:  # the folder, on a share
            raise OSError(22, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "f", write(b"new"))
    assert count == 2
    assert (tmp_path / "f").read_bytes() == b"new"
