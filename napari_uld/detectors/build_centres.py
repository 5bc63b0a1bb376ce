"""From a description to a network that finds lesions by their centres, in images or in volumes."""

from collections.abc import Callable
from functools import partial

from torch import nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.backbones.pseudo_3d import convolution
from napari_uld.detectors.backbones.unet_3d import Unet3d
from napari_uld.detectors.backbones.volume_densenet import VolumeDenseNet
from napari_uld.detectors.encoders.finest_level import FinestLevel
from napari_uld.detectors.encoders.key_image import KeyImage
from napari_uld.detectors.encoders.mulan import Mulan
from napari_uld.detectors.heads.centres import CentreHead
from napari_uld.detectors.heads.extents import DirectExtent, Extent, SurfacePoints
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.parts import SlabEncoder
from napari_uld.detectors.specs.centres import CenterNet3dSpec, CenterNetSpec, CentreSpec, CentreSupervision
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.vld import VldSpec, VldSupervision

# Of a volume, (x, y, z): its level has every slice.
AXES = 3
# Makes a convolution of so many channels, and outputs.
Convolution = Callable[[int, int], nn.Module]


def build_centernet(detector: CenterNetSpec, supervision: CentreSupervision, inputs: InputSpec) -> OneStageDetector:
    """Build a CenterNet on a truncated DenseNet: of one image, or of several that MULAN's fusion joins."""
    backbone = DenseNet(in_channels=inputs.channels, blocks=detector.blocks, growth=detector.growth)
    channels = detector.pyramid_channels
    encoder: SlabEncoder
    if inputs.images > 1:
        encoder = Mulan(backbone, images=inputs.images, channels=channels)
    else:
        encoder = FinestLevel(backbone, channels=channels, lateral=partial(flat_convolution, size=1))
    extent = direct_extent(detector, supervision, axes=2)
    return detector_of_centres(
        encoder, detector, supervision, inputs, convolution=partial(flat_convolution, size=3), extent=extent
    )


def build_centernet_3d(
    detector: CenterNet3dSpec, supervision: CentreSupervision, inputs: InputSpec
) -> OneStageDetector:
    """Build a CenterNet of volumes on a 3D U-Net."""
    encoder = KeyImage(Unet3d(in_channels=inputs.channels, widths=detector.widths))
    extent = direct_extent(detector, supervision, axes=AXES)
    convolve = partial(convolution, "i3d", bias=True)
    return detector_of_centres(encoder, detector, supervision, inputs, convolution=convolve, extent=extent)


def build_vld(detector: VldSpec, supervision: VldSupervision, inputs: InputSpec) -> OneStageDetector:
    """Build a VLD: a pseudo-3D DenseNet, a pyramid, and a head of centres."""
    backbone = VolumeDenseNet(
        in_channels=inputs.channels, blocks=detector.blocks, growth=detector.growth, operator=detector.operator
    )
    lateral = partial(convolution, "axial", size=1, bias=True)
    encoder = FinestLevel(backbone, channels=detector.pyramid_channels, lateral=lateral)
    convolve = partial(convolution, detector.operator, bias=True)
    if detector.extent == "size":
        extent: Extent = direct_extent(detector, supervision, axes=AXES)
    else:
        margin = supervision.triplet_margin
        extent = SurfacePoints(
            detector.head_channels,
            axes=AXES,
            points=detector.points,
            embedding=detector.point_channels,
            weight=supervision.extent_weight,
            margin=None if margin == "none" else margin,
        )
    return detector_of_centres(encoder, detector, supervision, inputs, convolution=convolve, extent=extent)


def detector_of_centres(
    encoder: SlabEncoder,
    detector: CentreSpec,
    supervision: CentreSupervision,
    inputs: InputSpec,
    *,
    convolution: Convolution,
    extent: Extent,
) -> OneStageDetector:
    """Put a head of centres on an encoder of one level: every family's of them."""
    (stride,) = encoder.strides
    head = CentreHead(
        encoder.channels,
        channels=detector.head_channels,
        convolution=convolution,
        extent=extent,
        cell=(stride, stride, 1) if inputs.volume else (stride, stride),
        alpha=supervision.alpha,
        beta=supervision.beta,
        score_threshold=detector.score_threshold,
        detections=detector.detections,
    )
    return OneStageDetector(encoder=encoder, head=head, slices_per_image=inputs.channels)


def direct_extent(detector: CentreSpec, supervision: CentreSupervision, *, axes: int) -> DirectExtent:
    """Box from the centre's features, as in "Objects as Points"."""
    return DirectExtent(detector.head_channels, axes=axes, weight=supervision.extent_weight)


def flat_convolution(channels: int, outputs: int, size: int) -> nn.Conv2d:
    """A convolution of images, begun as those of volumes are."""
    conv = nn.Conv2d(channels, outputs, size, padding=size // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
