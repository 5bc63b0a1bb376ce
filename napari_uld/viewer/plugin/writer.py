"""What napari calls to save a layer of a case: the annotation file."""

from typing import Any

from napari_uld.errors import AnnotationFileError
from napari_uld.viewer.layers.parts import METADATA, PART, Part
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import annotation_file_name, save_case


def write_lesions(path: str, _data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save the lesions of the case that a layer shows; give the file that was written.

    Raises
    ------
    AnnotationFileError
        If the layer belongs to no open scan, the file cannot be written, or the name completed by its
        suffix is that of a file nobody chose to replace.
    """
    metadata = attributes.get("metadata", {})
    case = metadata.get(METADATA)
    if not isinstance(case, Case) or not isinstance(metadata.get(PART), Part):
        raise AnnotationFileError(
            f"{path}: the layer {attributes.get('name', '')} holds no lesions of an open CT scan; "
            f"required is one of a scan's own layers ({Part.MARKS} or {Part.HAND})"
        )
    target = annotation_file_name(path)
    if str(target) != path and target != case.path and target.exists():
        raise AnnotationFileError(
            f"{target} is there already, and nobody was asked about replacing it; "
            f"choose {target.name} itself, or another name"
        )
    return [str(save_case(case, target))]
