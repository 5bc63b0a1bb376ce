"""The voxels of an image file: where they are kept, whether they fit, and decoding that checks every sum and length."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napari_uld.errors import ScanError, UnsupportedScanError

Encoding = Literal["raw", "compressed", "text", "hex"]
# What a header may promise before its file is read: deflate packs at most so many bytes into one.
_MOST_PACKED = 1032
# Some writers pad a file with zeros. Fewer are more likely a voxel's, shifted by what was lost or added before it.
_LEAST_PADDING, _MOST_PADDING = 16, 1 << 16
# zlib's own or gzip's frame, whichever is there; both end in a checksum.
_EITHER_FRAME = 47
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 18
# What stands for a file that Git LFS or git-annex keeps elsewhere.
_POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex/")
# What is sometimes called as a scan is, and what to do with it.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive: unpack it and open what is in it",
    b"BZh": "compressed with bzip2: unpack it",
    b"\xfd7zXZ": "compressed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
    b"\x89PNG": "a PNG picture: open the scan that it was made of",
    b"\xff\xd8\xff": "a JPEG picture: open the scan that it was made of",
    b"\x89HDF": "an HDF5 file (MINC 2, for one): convert it to NIfTI",
}


@dataclass(frozen=True)
class Stored:
    """Where a file keeps its voxels.

    Parameters
    ----------
    file
        The file that holds them; for a detached header another than the header's.
    shape
        (z, y, x).
    dtype
        Of one voxel, byte order included.
    encoding
        How they are written.
    offset
        Bytes before them in the file; None where they are the last bytes of it.
    length
        Bytes they take in the file where the header says so.
    skipped
        Bytes to leave out after decompression; None where the voxels are the last bytes.
    """

    file: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    encoding: Encoding = "raw"
    offset: int | None = 0
    length: int | None = None
    skipped: int | None = 0

    @property
    def size(self) -> int:
        """Bytes of all voxels once they are decoded."""
        z, y, x = self.shape
        return z * y * x * self.dtype.itemsize


def damaged(file: Path, found: object) -> ScanError:
    """Make the error for a file that was whole once."""
    return ScanError(f"{file} cannot be read ({found}); it is damaged or cut short: copy or download it again")


def check_real(file: Path, start: bytes) -> None:
    """Refuse what stands in a file's place; `start` is how it begins.

    Raises
    ------
    UnsupportedScanError
        If it is an archive, a picture or another format.
    ScanError
        If it is empty, or a pointer or web page that a download left instead of the file.
    """
    if not start:
        raise ScanError(f"{file} is empty (0 bytes); copy or download it again")
    if start.startswith(_POINTERS[0]):
        raise ScanError(f"{file} is a Git LFS pointer, not the file itself: fetch the real file (git lfs pull)")
    if start.startswith(_POINTERS):
        raise ScanError(f"{file} is a git-annex pointer, not the file itself: fetch the real file (git annex get)")
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise ScanError(f"{file} is a web page, not a scan: the download failed, download it again")
    if other := next((what for sign, what in _OTHERS.items() if start.startswith(sign)), None):
        raise UnsupportedScanError(f"{file} is {other}")


def sibling(header: Path, name: str) -> Path:
    """Give the data file that a header names: a plain name in the header's own folder.

    Raises
    ------
    UnsupportedScanError
        If the name leads elsewhere or stands for several files.
    ScanError
        If there is no such file, or something else in its place.
    """
    plain = name.removeprefix("./")
    if plain.split(maxsplit=1)[:1] == ["LIST"] or "%" in plain:
        raise UnsupportedScanError(
            f"{header} keeps its voxels in several files ({name!r}); one data file is required: "
            "save the scan as one file"
        )
    if not plain or plain in (".", "..") or any(sign in plain for sign in '/\\:\0"') or not plain.isprintable():
        raise UnsupportedScanError(
            f"{header} names its data file as {name!r}; required is a plain file name in the same folder: "
            "move the data file beside the header and correct the name"
        )
    file = header.parent / plain
    if not file.exists():
        raise ScanError(f"{header}: its data file {plain} is missing; copy it into the same folder")
    if not file.is_file() or file.samefile(header):
        raise ScanError(f"{header}: its data file {plain} is not a file of voxels; correct the header")
    with file.open("rb") as stream:
        start = stream.read(512)
    # Voxels may begin with anything, but hardly with the text of a pointer.
    if start.startswith(_POINTERS) or not start:
        check_real(file, start)
    return file


def check_size(stored: Stored, header: Path) -> None:
    """Refuse what the file cannot hold, before a byte of it is kept.

    Raises
    ------
    ScanError
        If the header promises more than there is.
    """
    there = stored.file.stat().st_size - (stored.offset or 0)
    length = there if stored.length is None else stored.length
    if length > there:
        raise damaged(
            stored.file, f"{header.name} promises {length} bytes of compressed data, {max(there, 0)} are there"
        )
    most = {"raw": there, "compressed": length * _MOST_PACKED, "text": there * stored.dtype.itemsize, "hex": there // 2}
    if stored.size > most[stored.encoding]:
        z, y, x = stored.shape
        raise damaged(
            stored.file,
            f"{header.name} promises {x} x {y} x {z} voxels, {stored.size} bytes, and {max(there, 0)} are there"
            + (" compressed" if stored.encoding == "compressed" else ""),
        )


def load(stored: Stored, header: Path) -> tuple[np.ndarray, list[str]]:
    """Decode the voxels.

    Returns
    -------
    values
        (z, y, x), of the stored type.
    said
        What was left out after them.

    Raises
    ------
    ScanError
        If they are damaged, or more or fewer than promised.
    """
    check_size(stored, header)
    try:
        if stored.encoding == "raw":
            data, said = _raw(stored, header)
        elif stored.encoding == "compressed":
            data, said = _compressed(stored, header)
        else:
            return _written_out(stored, header).reshape(stored.shape), []
    except OSError as error:
        raise damaged(stored.file, error) from error
    return data.view(stored.dtype).reshape(stored.shape), said


def _raw(stored: Stored, header: Path) -> tuple[np.ndarray, list[str]]:
    there = stored.file.stat().st_size
    offset = there - stored.size if stored.offset is None else stored.offset
    said = []
    if rest := there - offset - stored.size:
        with stored.file.open("rb") as stream:
            stream.seek(offset + stored.size)
            said = check_padding(stream.read(_MOST_PADDING + 1), rest, stored.file, header)
    return np.fromfile(stored.file, np.uint8, stored.size, offset=offset), said


def check_padding(rest: bytes | np.ndarray, length: int, file: Path, header: Path) -> list[str]:
    """Tell padding after the voxels, `length` bytes of which `rest` are the first, from voxels too many.

    Raises
    ------
    ScanError
        If it is not padding: sizes and voxels do not belong together.
    """
    if not length:
        return []
    if not _LEAST_PADDING <= length <= _MOST_PADDING or any(bytes(rest)):
        raise ScanError(
            f"{file} holds {length} bytes after the voxels that "
            f"{header.name} promises, so size or place of the voxels is wrong; the exact number is required: "
            "correct the header, or copy both files again"
        )
    return [f"{length} bytes of padding after the voxels left out"]


def _compressed(stored: Stored, header: Path) -> tuple[np.ndarray, list[str]]:
    with stored.file.open("rb") as stream:
        stream.seek(stored.offset or 0)
        data = stream.read(-1 if stored.length is None else stored.length)
    if stored.skipped is None:
        return inflate(data, stored.size, stored.file)[-stored.size :], []
    needed = stored.skipped + stored.size
    whole = inflate(data, needed, stored.file)
    return whole[stored.skipped : needed], check_padding(whole[needed:], len(whole) - needed, stored.file, header)


def inflate(data: bytes, needed: int, file: Path) -> np.ndarray:
    """Decompress zlib's or gzip's stream to its end, where checksum and length are compared.

    Parameters
    ----------
    data
        The whole stream; gzip's may have several parts.
    needed
        Bytes required; room is made for these and a little padding, so that no header and no stream can ask
        for more.

    Returns
    -------
    uint8, at least ``needed`` bytes.

    Raises
    ------
    ScanError
        If the stream is damaged, does not reach its end, or gives fewer bytes than needed.
    """
    if needed > len(data) * _MOST_PACKED:
        raise damaged(file, f"{needed} bytes promised, {len(data)} compressed ones are there")
    out, filled = np.empty(needed + _MOST_PADDING, np.uint8), 0
    rest = memoryview(data)
    while True:
        filled, rest = _inflate_part(rest, out, filled, file)
        if bytes(rest[:2]) != _GZIP:
            break
    if any(bytes(rest)):
        raise damaged(file, f"{len(rest)} bytes follow the end of the compressed data")
    if filled < needed:
        raise damaged(file, f"{filled} bytes decompressed, {needed} required")
    return out[:filled]


def _inflate_part(view: memoryview, out: np.ndarray, filled: int, file: Path) -> tuple[int, memoryview]:
    """Decompress one part into `out`; give how far that is filled now, and what follows, padding left out."""
    stream, place = zlib.decompressobj(_EITHER_FRAME), 0
    while not stream.eof:
        chunk = stream.unconsumed_tail or view[place : place + _CHUNK]
        place += 0 if stream.unconsumed_tail else len(chunk)
        if not chunk:
            raise damaged(file, "the compressed data end before their end marker")
        try:
            piece = stream.decompress(chunk, len(out) + 1 - filled)
        except zlib.error as error:
            raise damaged(file, f"the compressed data are damaged: {error}") from error
        if filled + len(piece) > len(out):
            raise ScanError(
                f"{file} decompresses to more than the {len(out) - _MOST_PADDING} bytes that its header promises; the "
                "exact number is required: correct the header, or download the file again"
            )
        out[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    rest = (stream.unused_data + bytes(view[place:])).lstrip(b"\0")
    return filled, memoryview(rest)


def _written_out(stored: Stored, header: Path) -> np.ndarray:
    """Read numbers written as text or hexadecimal digits."""
    with stored.file.open("rb") as stream:
        stream.seek(stored.offset or 0)
        text = stream.read()
    # Python takes 1_000 for a number.
    if b"_" in text:
        raise damaged(stored.file, "an underscore stands among its numbers")
    try:
        if stored.encoding == "hex":
            values = np.frombuffer(bytes.fromhex(text.decode("ascii")), stored.dtype)
        else:
            convert = float if stored.dtype.kind == "f" else int
            values = np.array([convert(word) for word in text.split()], stored.dtype)
    except (ValueError, OverflowError) as error:
        raise damaged(stored.file, error) from error
    if len(values) * stored.dtype.itemsize != stored.size:
        raise damaged(
            stored.file,
            f"{len(values)} values written, {stored.size // stored.dtype.itemsize} promised by {header.name}",
        )
    return values
