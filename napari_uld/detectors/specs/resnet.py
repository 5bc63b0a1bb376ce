"""What families on a ResNet share: the backbone. Its defaults are ResNet-50."""

from pydantic import PositiveFloat, PositiveInt

from napari_uld.detectors.specs.family import DetectorSpec


class ResNetSpec(DetectorSpec):
    """A network on a ResNet, whatever stands on that."""

    # Bottleneck blocks in each of its stages.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 6, 3)
    width: PositiveFloat = 1.0
    # Whether its stem pools; without that every stride is half as large.
    stem_pool: bool = True
