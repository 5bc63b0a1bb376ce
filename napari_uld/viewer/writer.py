"""What napari calls to save a layer of a case: the annotation file."""

from pathlib import Path
from typing import Any

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.annotation_file import SUFFIX
from napari_uld.viewer.case import Case
from napari_uld.viewer.case_files import save_case
from napari_uld.viewer.layers import METADATA


def write_lesions(path: str, _data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save the lesions of the case that a layer shows; give the file that was written.

    Raises
    ------
    AnnotationFileError
        If the layer belongs to no open scan, or the file cannot be written.
    """
    case = attributes.get("metadata", {}).get(METADATA)
    if not isinstance(case, Case):
        raise AnnotationFileError(
            f"{path}: the layer {attributes.get('name', '')} belongs to no open CT scan; "
            "required is one of a scan's own layers (RECIST, Lesions or Detections)"
        )
    target = Path(path if path.endswith(SUFFIX) else path.removesuffix(".json") + SUFFIX)
    return [str(save_case(case, target))]
