"""How each of the papers judges a detector: what is counted, when a lesion counts as found, and at which rates.

=====  ========  =====================================  ================================  ==========================
name   counts    a detection hits a lesion at           false positives a image/volume    used by
=====  ========  =====================================  ================================  ==========================
image  images    2D IoU >= .5                           .5 1 2 4 (8 16)                   DeepLesion's 2D tables
p3d    volumes   P3D IoU >= .5                          .125 .25 .5 1 2 4 8               Lesion Harvester, mining
3d     volumes   3D IoU >= .3                           .25 .5 .75 1 1.25 1.5 1.75 2      VLD
lens   volumes   3D IoBB >= .3, "+ 1" sides             .125 .25 .5 1 2 4 8               the manual 1K volumes
coco   images    2D IoU >= .5 .55 ... .95, one to one   .5 1 2 4 (8 16)                   detection toolkits
=====  ========  =====================================  ================================  ==========================

A table of volumes with a lesion on one slice each (`p3d`) or with bodies (`3d`, `lens`) divides false positives by
ALL volumes, also those without a lesion.
"""

from dataclasses import dataclass
from typing import Literal

from napari_uld.evaluation.by_size import IMAGE_BINS, VOLUME_BINS, SizeBins
from napari_uld.evaluation.froc import FP_RATES

ProtocolName = Literal["image", "p3d", "3d", "lens", "coco"]
# The rates of the tables of Lesion Harvester, mining and LENS, and of VLD's.
HARVESTER_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
VLD_RATES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Protocol:
    """A way to judge detections.

    Parameters
    ----------
    name
        What it is called on the command line.
    counts
        What false positives are divided by.
    measure
        What has to reach the threshold, for people to read.
    threshold
        From which overlap on a detection hits a lesion.
    rates
        Mean false positives at which the papers read sensitivity.
    bins
        How the papers that use it divide lesions by size.
    by_lesion
        How average precision counts, see `average_precision`.
    from_origin
        How the curve begins, see `froc`.
    """

    name: ProtocolName
    counts: Literal["images", "volumes"]
    measure: str
    threshold: float
    rates: tuple[float, ...]
    bins: SizeBins
    by_lesion: bool = False
    from_origin: bool = True


PROTOCOLS: dict[str, Protocol] = {
    each.name: each
    for each in (
        Protocol("image", "images", "IoU", 0.5, FP_RATES, IMAGE_BINS),
        Protocol("p3d", "volumes", "P3D IoU", 0.5, HARVESTER_RATES, IMAGE_BINS, by_lesion=True),
        Protocol("3d", "volumes", "3D IoU", 0.3, VLD_RATES, VOLUME_BINS),
        Protocol("lens", "volumes", "3D IoBB", 0.3, HARVESTER_RATES, VOLUME_BINS, from_origin=False),
        Protocol("coco", "images", "IoU", 0.5, FP_RATES, IMAGE_BINS),
    )
}
