"""Every error this package raises on purpose.

A message names the file, what was found, what was required and what to do.
"""


class UldError(Exception):
    """Base of all errors that a user can cause and mend."""


class ScanError(UldError):
    """A scan cannot be read as a CT volume."""


class UnsupportedScanError(ScanError):
    """The file is readable but is no CT volume (localiser, SEG, RTSTRUCT, 4D, colour)."""


class GeometryError(ScanError):
    """The slices of a series do not form one regular grid."""


class MissingSlicesError(GeometryError):
    """There is a gap between slices."""


class DuplicateSlicesError(GeometryError):
    """Several different slices lie at one position."""


class UnevenSpacingError(GeometryError):
    """The distance between slices varies."""


class MixedSlicesError(GeometryError):
    """Slices of one series differ in size, spacing or orientation."""


class PhaseError(ScanError):
    """The phases of a study are not all there, or do not lie on one grid."""


class AmbiguousScanError(ScanError):
    """A path holds several scans and none was chosen."""


class BoxError(UldError):
    """A bounding box is malformed, empty or outside the image."""


class RecistError(UldError):
    """A RECIST measurement is malformed or degenerate."""


class NoMaskError(RecistError):
    """No mask can be made from a RECIST, its box and their slice.

    Parameters
    ----------
    message
        The sentence for a person.
    reason
        Why, without this lesion's numbers: lesions can be counted by it.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class AnnotationError(UldError):
    """An annotation is inconsistent, or an edit is impossible."""


class AnnotationFileError(AnnotationError):
    """An annotation file cannot be read or written."""


class FileLockedError(AnnotationFileError):
    """Another program holds the annotation file's lock."""


class FileChangedError(AnnotationFileError):
    """The annotation file changed on disk since it was read."""


class CaseListError(UldError):
    """What is known of a folder's scans cannot be read or kept."""


class RecipeError(UldError):
    """A recipe is unknown or invalid."""


class CheckpointError(UldError):
    """A checkpoint is unknown, damaged or does not fit its recipe."""


class DataError(UldError):
    """A training or evaluation data set is missing something."""


class AnchorError(UldError):
    """An anchor set, or the bounds of a search for one, make no sense."""


class TrainingError(UldError):
    """Training diverged, or cannot be resumed."""


class DeviceError(UldError):
    """The requested device is not there."""


class TileMemoryError(DeviceError):
    """A device's memory is too small for the smallest part of a scan that makes sense."""


class WorkerError(UldError):
    """The inference process failed or died."""


class CancelledError(UldError):
    """The person cancelled."""
