"""What every family describes: its network, and what that learns from."""

from typing import Literal, NamedTuple

from napari_uld.detectors.specs.base import LESION, Areas, Combine, MaskName, Spec
from napari_uld.detectors.specs.inputs import InputSpec


class TargetMaps(NamedTuple):
    """Which bounding maps a target carries, and how they are made.

    Parameters
    ----------
    names
        Of "bm", "lesion_bms", "abm" and "lesion_abms".
    combine
        How lesions' maps become one.
    areas
        ABM's area thresholds, px^2 of .8 mm of the padded box.
    """

    names: frozenset[str] = frozenset()
    combine: Combine = "sum"
    areas: Areas = (250.0, 1000.0)


class SupervisionSpec(Spec):
    """What a family learns from."""

    family: str
    # Its boxes: of what is listed, on key slices, with DeepLesion's margin; or of every lesion, on whatever slice shows
    # it, tight about its voxels, as phantoms alone know them. It gives boxes of the same kind.
    boxes: Literal["padded", "tight"] = "padded"

    @property
    def mask_kind(self) -> MaskName | None:
        """The pseudo mask that targets carry, None where they carry none."""
        return None

    @property
    def maps(self) -> TargetMaps:
        """The bounding maps that targets carry."""
        return TargetMaps()

    @property
    def takes_negatives(self) -> bool:
        """Whether hard negatives teach it more than other background: sampled first, or weighed more."""
        return False

    @property
    def takes_position(self) -> bool:
        """Whether where along the body a slab lies teaches it."""
        return False


class DetectorSpec(Spec):
    """What a family's network is made of."""

    family: str
    pretrained: Literal["imagenet", "none"] = "imagenet"
    classes: tuple[str, ...] = (LESION,)

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that the network can see this input, and learn from this supervision.

        Raises
        ------
        ValueError
            If it cannot: one sentence that says what was required.
        """


def check_one_window(inputs: InputSpec) -> None:
    """Check that an input is slices in one window, which is all that a family's encoders join.

    Raises
    ------
    ValueError
        If it is not.
    """
    if inputs.volume or inputs.more_windows:
        raise ValueError("this family sees one window of slices: more_windows and volume are for others")


def check_one_image(inputs: InputSpec) -> None:
    """Check that an input is one image, whose channels are all of its slices.

    Raises
    ------
    ValueError
        If it is not.
    """
    check_one_window(inputs)
    if inputs.images > 1:
        raise ValueError("this family sees one image: slices_per_image must be as large as slices")
