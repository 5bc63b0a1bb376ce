import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from napari_uld.ct.dicom_headers import asked_once, read_plain
from napari_uld.ct.dicom_images import _PLAIN_TAGS, no_pixels, slice_of
from napari_uld.errors import GeometryError

from .conftest import ct_dataset, pixels_of, save

PIXELS = pixels_of(1)[0]


def dataset_of(**tags):
    dataset = ct_dataset(PIXELS, (0, 0, 0), SpecificCharacterSet="ISO_IR 192", SeriesDescription="Schädel", **tags)
    dataset.WindowCenter, dataset.WindowWidth, dataset.PixelPaddingValue = [40, 50], [400.5, 350], 63536
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedStudySequence = Sequence([item])
    return dataset


def header_of(file):
    with file.open("rb") as stream:
        return read_plain(stream, _PLAIN_TAGS)


def check_like_pydicom(file):
    header, dataset = header_of(file), pydicom.dcmread(file)
    for keyword in _PLAIN_TAGS.values():
        found, expected = header.get(keyword), dataset.get(keyword)
        assert (found, str(found), type(found)) == (expected, str(expected), type(expected)), keyword
    pixels = dataset.get_item("PixelData")
    assert (header.pixels_at, header.pixels_length) == (pixels.value_tell, pixels.length)
    assert header.file_meta["TransferSyntaxUID"] == dataset.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
@pytest.mark.parametrize("undefined", [(False, False), (True, False), (True, True)])
def test_values_and_place_of_the_pixels_are_those_of_pydicom(tmp_path, syntax, undefined):
    dataset = dataset_of()
    dataset["ReferencedStudySequence"].is_undefined_length = undefined[0]
    dataset.ReferencedStudySequence[0].is_undefined_length_sequence_item = undefined[1]
    if syntax == JPEGLSLossless:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    check_like_pydicom(save(dataset, tmp_path / "a.dcm"))


def test_a_header_longer_than_what_is_read_first_is_read_whole(tmp_path):
    check_like_pydicom(save(dataset_of(ImageComments="long " * 8000), tmp_path / "a.dcm"))


# As files have them, and some as DICOM does not.
OWN = {
    "InstanceNumber": ["7", " 7 ", "+7", "-07", "7.0", "1_0", "", "1\\2", "9999999999999"],
    "ImagePositionPatient": [
        "-10\\-20.\\1e2",
        " -10 \\.5\\ 3",
        "1.23456789012345678901\\2\\3",
        "1\\2",
        "1_0\\2\\3",
        "",
    ],
    "SOPInstanceUID": ["1.2.30", "1.2.3", "1.02.3", "1.2.", "1.2\\1.3", "1." * 40 + "1"],
    "AcquisitionTime": ["101112", "101112.25", "10:11:12", "", "101112\\101113"],
    "ContentTime": ["1011", "about ten"],
    "AcquisitionDateTime": ["20200203101112.25+0100", "20200203", "yesterday"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("keyword", "text"), [(keyword, text) for keyword, texts in OWN.items() for text in texts])
def test_what_is_one_slices_own_is_that_of_pydicom_however_it_is_written(tmp_path, keyword, text, syntax):
    dataset = dataset_of()
    vr = pydicom.datadict.dictionary_VR(keyword)
    value = text.encode() + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)
    dataset[keyword] = RawDataElement(pydicom.tag.Tag(keyword), vr, len(value), value, 0, False, True)
    dataset.file_meta.TransferSyntaxUID = syntax
    file = save(dataset, tmp_path / "a.dcm")
    check_like_pydicom(file)
    header, expected = header_of(file), pydicom.dcmread(file).get(keyword)
    assert keyword in header.own or text != OWN[keyword][0]
    if keyword == "ImagePositionPatient" and keyword in header.own:
        assert header.position.tolist() == list(map(float, expected))
    elif keyword in header.own:
        assert header.own[keyword].strip() == str(expected).strip()
        assert keyword != "InstanceNumber" or int(header.own[keyword]) == expected


def place_of(file):
    header = header_of(file)
    return slice_of(header, file, no_pixels(header))


@pytest.mark.parametrize("position", [[-10.5, 20, 1e-3], [-10.123456789012345, 20, 3]])
def test_the_place_is_what_pydicom_makes_of_the_numbers(tmp_path, position):
    with pydicom.config.disable_value_validation():
        file = save(ct_dataset(PIXELS, position, InstanceNumber=12), tmp_path / "a.dcm")
    place = place_of(file)
    assert place.position.tolist() == [float(number) for number in pydicom.dcmread(file).ImagePositionPatient]
    assert (place.number, place.spacing) == (12, (0.75, 0.5))


def test_a_position_beyond_all_numbers_is_refused(tmp_path):
    dataset = ct_dataset(PIXELS, (0, 0, 0))
    value = b"1\\2\\1e999 "
    dataset["ImagePositionPatient"] = RawDataElement(
        pydicom.tag.Tag("ImagePositionPatient"), "DS", 10, value, 0, False, True
    )
    with pytest.raises(GeometryError, match="3 finite numbers required"):
        place_of(save(dataset, tmp_path / "a.dcm"))


def test_files_of_one_series_share_what_is_no_slices_own(tmp_path):
    one, other, third = (
        header_of(save(ct_dataset(PIXELS, (0, 0, z), InstanceNumber=z, KVP=kvp), tmp_path / f"{z}.dcm"))
        for z, kvp in ((1, 120), (2, 120), (3, 100))
    )
    assert one.shared is other.shared
    assert third.shared is not one.shared
    assert (one.get("InstanceNumber"), other.get("InstanceNumber"), third.get("KVP")) == (1, 2, 100)


def test_what_is_asked_once_is_answered_for_each_group_of_headers(tmp_path):
    asked = []

    @asked_once
    def voltage(header, factor):
        asked.append(header)
        return header.get("KVP") * factor

    headers = [header_of(save(ct_dataset(PIXELS, (0, 0, 0), KVP=kvp), tmp_path / "a.dcm")) for kvp in (120, 120, 100)]
    assert [voltage(header, 2) for header in headers] == [240, 240, 200]
    assert len(asked) == 2
    assert voltage(pydicom.dcmread(tmp_path / "a.dcm"), 3) == 300


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[132:],  # no preamble
        lambda data: data[:400],  # cut short within the header
        lambda data: data.replace(b"\x28\0\x10\0US", b"\x08\0\x10\0US"),  # out of order
        lambda data: data.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0U?"),  # no kind of value
        lambda data: data.replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x08\0OW"),  # other pixels
    ],
)
def test_what_is_not_plain_is_left_to_pydicom(tmp_path, spoil):
    file = save(dataset_of(), tmp_path / "a.dcm")
    file.write_bytes(spoil(file.read_bytes()))
    assert header_of(file) is None
