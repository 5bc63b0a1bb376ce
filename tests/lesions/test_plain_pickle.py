"""Pickles run nothing when they are read here, and hold nothing but plain values."""

import collections
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions import plain_pickle
from napari_uld.lesions.plain_pickle import read_plain_pickle


class Runs:
    """Unpickled as usual, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return Path.write_text, (self.path, "here I am")


def written(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers_and_numpys_numbers_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    whole = np.arange(12, dtype=np.int16).reshape(3, 4)
    content = {
        "a": [1, 2.5, None, True, "text", b"bytes", (1, 2)],
        "scalars": [np.float64(1.25), np.int32(-7), np.float32(0.5), np.bool_(True)],
        "arrays": [whole, whole.T, np.zeros((0, 6)), np.asfortranarray(whole).astype(">f8")],
    }
    read = read_plain_pickle(written(tmp_path / "x.pkl", content, protocol))
    assert read["a"] == content["a"]
    assert read["scalars"] == [1.25, -7, 0.5, True]
    assert [type(value) for value in read["scalars"]] == [float, int, float, bool]
    for got, expected in zip(read["arrays"], content["arrays"], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_nothing_runs_that_a_pickle_asks_for(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path / "x.pkl", {"a": Runs(trace)})
    with pytest.raises(AnnotationFileError, match=r"it names builtins\.getattr|it names pathlib"):
        read_plain_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        print,
        collections.OrderedDict(a=1),
        np.dtype("O"),
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.datetime64("2020-01-01"),
        complex(1, 2),
        {1, 2},
        frozenset({1}),
        Path("x"),
    ],
    ids=repr,
)
def test_what_is_neither_plain_nor_an_array_of_numbers_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(AnnotationFileError, match="x.pkl: found a pickle that is refused"):
        read_plain_pickle(written(tmp_path / "x.pkl", [content]))


@pytest.mark.parametrize("names", [b"cnumpy\nload\n", b"cnumpy.core.multiarray\nfromfile\n", b"cos\nsystem\n"])
def test_other_names_of_numpys_modules_are_refused_like_any(tmp_path: Path, names: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(names + b"(S'x'\ntR.")
    with pytest.raises(AnnotationFileError, match="it names"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_text_is_encoded_as_bytes_only_the_way_numpy_does(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.")
    with pytest.raises(AnnotationFileError, match="it encodes text"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_a_place_in_memory_beyond_the_files_own_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".")
    with pytest.raises(AnnotationFileError, match="2,147,483,647 places"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_few_bytes_that_stand_for_very_many_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value: list[object] = []
    for _ in range(20):
        value = [value, value]
    monkeypatch.setattr(plain_pickle, "MAX_VALUES", 10_000)
    with pytest.raises(AnnotationFileError, match="more than 10,000 values"):
        read_plain_pickle(written(tmp_path / "x.pkl", value))


def test_what_holds_itself_is_refused(tmp_path: Path) -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(AnnotationFileError, match="nested more than"):
        read_plain_pickle(written(tmp_path / "x.pkl", value))


def test_an_array_is_believed_no_further_than_its_bytes(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(6.0), 2).replace(b"K\x06\x85", b"K\x07\x85")
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(AnnotationFileError, match=r"the shape \(7,\) has 6 numbers"):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle", b"\x80\x63.", b"(", b"\x80\x02K\x01"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(AnnotationFileError, match=r"x\.pkl"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_a_file_that_is_not_there_or_too_large_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnnotationFileError, match="Cannot read"):
        read_plain_pickle(tmp_path / "none.pkl")
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", 4)
    with pytest.raises(AnnotationFileError, match="required at most 4"):
        read_plain_pickle(written(tmp_path / "x.pkl", list(range(10))))
