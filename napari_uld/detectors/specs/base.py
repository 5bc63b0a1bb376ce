"""What all descriptions have in common."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

# The class that detectors find, and the class that hard negatives are taught as.
LESION = "lesion"
FALSE_POSITIVE = "false_positive"
PYRAMID_LEVELS = 5

Fraction = Annotated[float, Field(ge=0, le=1)]
MaskName = Literal["ellipse", "grabcut"]
Combine = Literal["sum", "max"]
# A share, or an area in pixels, of small and of middle-sized lesions.
Areas = tuple[float, float]


def _check_order(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] < pair[1]:
        raise ValueError(f"the IoU of positive anchors must be at least that of negative ones; found {pair}")
    return pair


# IoUs from which an anchor is positive, and below which it is negative.
IouPair = Annotated[tuple[Fraction, Fraction], AfterValidator(_check_order)]
# One of VGG's poolings, and the convolutions in each of its groups.
Pooling = Annotated[int, Field(ge=1, le=5)]
Convolutions = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class Spec(BaseModel):
    """Base of all descriptions: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
