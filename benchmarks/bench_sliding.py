"""What sliding along a scan costs: time and memory beside slices and full 3D, a tile beside MONAI's RetinaNet, halos.

python benchmarks/bench_sliding.py [scan] [tile] [halo] [--slices N] [--rounds N] [--tile D H W] [--device cpu]
                                   [--checkpoint C --data PHANTOMS --scans N --halos N ...]

scan: the small `vld_acs_spr` along synthetic tissue of 300 slices, as `detect` runs it, beside `centernet_2d`, which is
the same backbone slice by slice, `vld_i3d`, where the same convolutions are full 3D, and `retinanet_dense_ag`.
tile: the published `vld_acs_spr` on one tile beside MONAI's 3D RetinaNet as its LUNA16 example sets it up (50 layers,
two levels of a pyramid and a coarser one), from voxels to boxes in the same precision. It needs the extra `bench`.
halo: of what a trained detector finds in whole scans, how much it finds in tiles with halos of so many slices: F1 of
the detections that a review begins with, matched at 3D IoU .5.

Without a word scan and tile are run. Random weights but for halo. All variants run by turns; times are medians, ratios
medians of each round's. Memory is the most that was held at a time beyond what was there before: PyTorch's on a GPU,
else the process's.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from scipy.optimize import linear_sum_assignment

from napari_uld.ct.volume import CTVolume
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.candidates import candidates
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import lowest_score
from napari_uld.inference.device import mixed_precision, pick_device
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.sliding import Tiling, plan
from napari_uld.inference.volumes import Resampling, run_volume
from napari_uld.progress import finish
from napari_uld.training.data.volume_dataset import true_volumes
from napari_uld.training.reports.system_costs import random_detector

# Slices 2.5 mm apart are the small networks' own.
SPACING = (2.5, 0.8, 0.8)
# Two detections are the same from this 3D IoU on.
SAME_IOU = 0.5
# Slices that count in a tile of which the halo is tried: few, so that many lesions lie at its ends.
INNER = 12


class Peak:
    """The most memory that is held while it is measured, in bytes beyond what was there before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what runs within."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            yield
            torch.cuda.synchronize()
            self.bytes = max(self.bytes, torch.cuda.max_memory_allocated() - before)
            return
        process, stop = psutil.Process(), threading.Event()
        before = process.memory_info().rss

        def watch() -> None:
            while not stop.wait(0.01):
                self.bytes = max(self.bytes, process.memory_info().rss - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        yield
        stop.set()
        watcher.join()


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["scan", "tile"], choices=["scan", "tile", "halo"])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tile", type=int, nargs=3, default=(32, 512, 512))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--scans", type=int)
    parser.add_argument("--halos", type=int, nargs="*", default=(0, 1, 2, 3, 4, 6, 9))
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    named = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{named}, {arguments.rounds} rounds")
    if "scan" in arguments.parts:
        along_a_scan(arguments.slices, arguments.rounds, device)
    if "tile" in arguments.parts:
        on_a_tile(tuple(arguments.tile), arguments.rounds, device)
    if "halo" in arguments.parts:
        if arguments.checkpoint is None or arguments.data is None:
            parser.error("halo needs --checkpoint and --data")
        detector = load_checkpoint(arguments.checkpoint, arguments.device)
        scans = true_volumes(arguments.data, "all", detector.inputs.phases)[: arguments.scans]
        halos(detector, [each.read() for each in scans], arguments.halos)


def along_a_scan(slices: int, rounds: int, device: torch.device) -> None:
    """Print seconds a slice and memory of each small detector, and the volumetric one's ratios."""
    scan, short = tissue(slices), tissue(8)
    ours, flat, solid, other = "vld_acs_spr", "centernet_2d", "vld_i3d", "retinanet_dense_ag"
    variants: dict[str, Callable[[], object]] = {}
    for name in (ours, flat, solid, other):
        detector = random_detector(name, "small", device)
        run = along if detector.inputs.volume else slice_by_slice
        run(short, detector)
        variants[name] = lambda run=run, detector=detector: run(scan, detector)
    detector = random_detector(ours, "small", device)
    resampled = Resampling.of(scan, detector.inputs)
    tiling = plan(detector, slices, resampled.size)
    print(f"{slices} slices of {resampled.size} px in {ours}; tiles of {tiling.depth}, halo {tiling.halo}")
    held = tiling.depth * detector.bytes_per_voxel * np.prod([-(-side // 32) * 32 for side in resampled.size])
    print(f"  a tile's memory by count, in float32: {held / 2**30:.2f} GiB")
    ratios = by_turns(variants, rounds, device, slices)
    for name in (flat, solid, other):
        print(f"{ours} : {name} {ratios(ours, name):.2f}")


def on_a_tile(shape: tuple[int, ...], rounds: int, device: torch.device) -> None:
    """Print seconds and memory of the published detector and of MONAI's on one tile, and the ratio."""
    detector, peer = random_detector("vld_acs_spr", "published", device), monai_peer().to(device)
    image = torch.randn(1, *shape, device=device) * 40
    # MONAI's volumes are (x, y, z).
    turned = image.permute(0, 3, 2, 1)[None].contiguous()

    def ours() -> None:
        with torch.inference_mode(), mixed_precision(device):
            detector.model([image])[0]["boxes"].cpu()

    def theirs() -> None:
        with torch.inference_mode(), mixed_precision(device):
            peer(turned)[0]["boxes"].cpu()

    counted = detector.bytes_per_voxel * image.numel() / 2**30
    with mixed_precision(device):
        kind = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    print(f"a tile of {shape} in {kind}; {counted:.2f} GiB by count, in float32")
    ratios = by_turns({"vld_acs_spr": ours, "MONAI": theirs}, rounds, device, 1)
    print(f"vld_acs_spr published : MONAI {ratios('vld_acs_spr', 'MONAI'):.2f}")


def halos(detector: LoadedDetector, scans: Sequence[CTVolume], tried: Sequence[int]) -> None:
    """Print the F1 of tiled and untiled detections for each halo, and for the one that is chosen."""
    floor = lowest_score(detector.info.operating_point)

    def found(tiling: Callable[[int], Tiling]) -> list[np.ndarray]:
        boxes = []
        for scan in scans:
            slices = len(Resampling.of(scan, detector.inputs).positions)
            detections = finish(run_volume(scan, detector, tiling(slices)))
            boxes.append(detections.boxes[detections.scores >= floor])
        return boxes

    untiled = found(lambda slices: Tiling(slices + 4, 0))
    chosen = plan(detector, 10**6, (32, 32)).halo
    print(f"{len(scans)} scans, {sum(map(len, untiled))} detections from {floor:g} on; sees {detector.reach} slices")
    for halo in sorted({*tried, chosen}):
        tiled = found(lambda slices, halo=halo: Tiling(2 * halo + INNER, halo))
        shared = sum(agreeing(one, other) for one, other in zip(untiled, tiled, strict=True))
        f1 = 2 * shared / max(sum(map(len, untiled)) + sum(map(len, tiled)), 1)
        print(f"  halo {halo}: F1 {f1:.4f}{' (the default)' if halo == chosen else ''}")


def agreeing(one: np.ndarray, other: np.ndarray) -> int:
    """Pairs of boxes that are the same."""
    same = iou(one, other) >= SAME_IOU
    return int(same[linear_sum_assignment(same, maximize=True)].sum())


def along(scan: CTVolume, detector: LoadedDetector) -> None:
    """Slide along a scan."""
    finish(run_volume(scan, detector))


def slice_by_slice(scan: CTVolume, detector: LoadedDetector) -> None:
    """Look at every slice of a scan."""
    slabs = (extract_slab(scan.hu, scan.spacing, z, detector.inputs) for z in range(len(scan.hu)))
    for _ in candidates(slabs, detector):
        pass


def by_turns(
    variants: dict[str, Callable[[], object]], rounds: int, device: torch.device, slices: int
) -> Callable[[str, str], float]:
    """Print the median and the memory of each variant; give the median ratio of two of them over the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    peaks = {name: Peak(device) for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            with peaks[name].measured():
                started = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - started)
    for name, times in taken.items():
        per_slice = f" ({1000 * statistics.median(times) / slices:.1f} ms a slice)" if slices > 1 else ""
        print(f"  {name}: {statistics.median(times):.2f} s{per_slice}, {peaks[name].bytes / 2**30:.2f} GiB")
    return lambda a, b: statistics.median(x / y for x, y in zip(taken[a], taken[b], strict=True))


def monai_peer() -> torch.nn.Module:
    """MONAI's 3D RetinaNet as its example for LUNA16 composes it."""
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.networks.retinanet_network import RetinaNet, resnet_fpn_feature_extractor
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
    from monai.networks.nets import resnet50

    backbone = resnet50(spatial_dims=3, n_input_channels=1, conv1_t_stride=[2, 2, 1], conv1_t_size=[7, 7, 7])
    network = RetinaNet(
        spatial_dims=3,
        num_classes=1,
        num_anchors=3,
        feature_extractor=resnet_fpn_feature_extractor(backbone, 3, False, [1, 2], None),
        size_divisible=[16, 16, 8],
    )
    anchors = AnchorGeneratorWithAnchorShape((1, 2, 4), ((6, 8, 4), (8, 6, 5), (10, 10, 6)))
    detector = RetinaNetDetector(network, anchors)
    detector.set_box_selector_parameters(
        score_thresh=0.02, topk_candidates_per_level=1000, nms_thresh=0.22, detections_per_img=100
    )
    return detector.eval()


def tissue(slices: int) -> CTVolume:
    """Noise around 40 HU, smooth over a few millimetres, in an oval of 370 x 270 mm in air."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(40, 60, (-(-slices // 4), 128, 128)).astype(np.int16)
    hu = coarse.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2)[:slices]
    y, x = (np.mgrid[:512, :512] - 255.5) * SPACING[1]
    hu[:, (x / 185) ** 2 + (y / 135) ** 2 > 1] = -1000
    return CTVolume(hu, SPACING, Path("tissue"), "tissue", np.arange(slices))


if __name__ == "__main__":
    main()
