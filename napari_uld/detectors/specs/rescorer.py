"""A second look at what a detector found."""

from pydantic import PositiveInt

from napari_uld.detectors.specs.base import Fraction, Spec


class RescorerSpec(Spec):
    """A small network that scores crops about a trained detector's detections; the detector is not trained any more."""

    # Cells of a crop on a side, and how many times as long as a detection's longer side it is.
    crop: PositiveInt = 32
    context: PositiveInt = 2
    # Of its first convolution; each further one has twice as many.
    channels: PositiveInt = 16
    convolutions: PositiveInt = 3
    # A detection is a lesion from this IoU on.
    iou: Fraction = 0.5
    # Detections of an image that it learns from.
    samples: PositiveInt = 32
