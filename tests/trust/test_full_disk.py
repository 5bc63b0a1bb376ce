"""A disk that fills while something is trained: one sentence, what was there before intact, nothing half written."""

import errno
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from napari_uld.errors import TrainingError
from napari_uld.inference.checkpoint import save_checkpoint
from napari_uld.training import run_files
from napari_uld.training.run_files import LOG, STATE, add_to_log, check_room, read_log, save_state, writing

ROOM = 100_000


class SmallFile(io.FileIO):
    """A file that cannot grow beyond `ROOM` bytes."""

    def write(self, data: Any, /) -> int:
        left = max(ROOM - self.tell(), 0)
        written = super().write(memoryview(data)[:left])
        if left < len(memoryview(data)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        left = max(ROOM - os.lseek(descriptor, 0, os.SEEK_CUR), 0)
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:left])

    monkeypatch.setattr(os, "write", write_some)
    monkeypatch.setattr(Path, "open", lambda self, mode: SmallFile(self, mode))


def state(numbers: int) -> dict[str, object]:
    return {"model": {"a": torch.zeros(numbers), "b": torch.zeros(3)}, "epoch": numbers}


@pytest.mark.parametrize("numbers", [ROOM, ROOM // 4, ROOM // 4 - 150])
def test_a_state_that_does_not_fit_leaves_the_one_before(tmp_path: Path, small_disk: None, numbers: int) -> None:
    path = tmp_path / STATE
    save_state(path, state(10))
    before = path.read_bytes()
    with pytest.raises(
        TrainingError, match=r"state\.pt cannot be written: No space left on device.*go on with --resume"
    ) as told:
        save_state(path, state(numbers))
    assert "\n" not in str(told.value)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(STATE, before)]


def test_a_first_state_that_does_not_fit_leaves_nothing(tmp_path: Path, small_disk: None) -> None:
    with pytest.raises(TrainingError, match="begin again"):
        save_state(tmp_path / STATE, state(ROOM))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, nn.Linear(10, 10), {}, {})
    before = path.read_bytes()
    with pytest.raises(TrainingError, match="cannot be written: No space left on device"), writing(path):
        save_checkpoint(path, nn.Linear(300, 300), {}, {})
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(path.name, before)]


def test_a_log_that_does_not_fit_ends_with_its_last_whole_row(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / LOG
    row = {"event": "step", "more": "x" * (ROOM // 3)}
    add_to_log(path, row)
    add_to_log(path, row)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=r"log\.jsonl cannot be written: No space left on device"):
        add_to_log(path, row)
    assert path.read_bytes() == before
    assert read_log(path) == [row, row]


def test_a_row_that_a_killed_run_tore_is_passed_over_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / LOG
    path.write_text('{"event": "start", "notes": ["a"]}\n{"event": "st')
    assert run_files.training_notes(tmp_path) == ["a"]
    add_to_log(path, {"event": "step"})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["start", "step"]


def test_a_run_that_will_not_fit_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / STATE, state(10_000))
    check_room(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=150_000))
    with pytest.raises(TrainingError, match=r"0 MB left.*give another folder with --out"):
        check_room(tmp_path)
    assert not list(tmp_path.iterdir()), "the next try is no resumed run"
