"""From a description to a network of volumes."""

from functools import partial

from napari_uld.detectors.backbones.pseudo_3d import convolution
from napari_uld.detectors.backbones.volume_densenet import VolumeDenseNet
from napari_uld.detectors.encoders.volume_pyramid import VolumePyramid
from napari_uld.detectors.heads.centres import CentreHead
from napari_uld.detectors.heads.extents import DirectExtent, Extent, SurfacePoints
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.vld import VldSpec, VldSupervision

# Along (x, y, z): the pyramid's level has every slice.
AXES = 3


def build_vld(detector: VldSpec, supervision: VldSupervision, inputs: InputSpec) -> OneStageDetector:
    """Build a VLD: a pseudo-3D DenseNet, a pyramid, and a head of centres."""
    backbone = VolumeDenseNet(
        in_channels=inputs.channels, blocks=detector.blocks, growth=detector.growth, operator=detector.operator
    )
    encoder = VolumePyramid(backbone, channels=detector.pyramid_channels)
    (stride,) = encoder.strides
    head = CentreHead(
        encoder.channels,
        channels=detector.head_channels,
        convolution=partial(convolution, detector.operator, bias=True),
        extent=_extent(detector, supervision),
        cell=(stride, stride, 1),
        alpha=supervision.alpha,
        beta=supervision.beta,
        score_threshold=detector.score_threshold,
        detections=detector.detections,
    )
    return OneStageDetector(encoder=encoder, head=head, slices_per_image=inputs.channels)


def _extent(detector: VldSpec, supervision: VldSupervision) -> Extent:
    weight = supervision.extent_weight
    if detector.extent == "size":
        return DirectExtent(detector.head_channels, axes=AXES, weight=weight)
    margin = supervision.triplet_margin
    return SurfacePoints(
        detector.head_channels,
        axes=AXES,
        points=detector.points,
        embedding=detector.point_channels,
        weight=weight,
        margin=None if margin == "none" else margin,
    )
