"""The experiments whose tables stand in docs."""

from collections.abc import Sequence
from dataclasses import replace

from napari_uld.errors import RecipeError

from .planning import Budget, Experiment, Plot, Row

TWO_STAGE = Experiment(
    "two_stage",
    "The two-stage family",
    (
        Row("faster_rcnn", "faster_rcnn"),
        Row("faster_rcnn_bm", "faster_rcnn_bm", host="faster_rcnn"),
        Row("faster_rcnn_bmc", "faster_rcnn_bmc", host="faster_rcnn"),
        Row("3dce", "3dce", host="faster_rcnn"),
        Row("3dce_bm", "3dce_bm", host="3dce"),
        Row("3dce_bmc", "3dce_bmc", host="3dce"),
        Row("3dce_27", "3dce_27", host="faster_rcnn"),
        Row("mask_rcnn_no_mask", "mask_rcnn_no_mask"),
        Row("mask_rcnn", "mask_rcnn", host="mask_rcnn_no_mask"),
        Row("uldor", "uldor", host="mask_rcnn"),
        Row("uldor +FP", "uldor", host="mask_rcnn", count_negatives=True),
    ),
    # The second is Fig. 5 of ULDor's paper.
    plots=(Plot(), Plot("uldor", ("mask_rcnn_no_mask", "mask_rcnn", "uldor", "uldor +FP"), ceilings=True)),
)

BMC = {"objectness": "bmc", "regression": "bmc"}
# Table 2 of the bounding-map paper, on Faster R-CNN instead of AlignShift.
ABLATION = Experiment(
    "ablation",
    "What each part of BMC + ABM gives",
    (
        Row("baseline", "faster_rcnn"),
        Row("BMC objectness", "faster_rcnn", {"supervision": {"objectness": "bmc"}}, "baseline"),
        Row("BMC objectness and regression", "faster_rcnn", {"supervision": BMC}, "baseline"),
        Row("BMC objectness and regression, ABM branch", "faster_rcnn_bmc", host="baseline"),
        Row(
            "BMC objectness and regression, BM branch",
            "faster_rcnn",
            {"supervision": BMC | {"roi_branch": "bm"}},
            "baseline",
        ),
        Row("ABM branch", "faster_rcnn", {"supervision": {"roi_branch": "abm"}}, "baseline"),
    ),
)

# The bounding-map paper starts from trained detectors: the host goes on for as long again, as it is and with the maps.
HOST = Row("faster_rcnn", "faster_rcnn")
LONGER = "faster_rcnn, twice as long"
FROM_HOST = Experiment(
    "from_host",
    "Starting from a trained host",
    (
        Row(LONGER, "faster_rcnn", init=HOST),
        Row("faster_rcnn + BM", "faster_rcnn_bm", host=LONGER, init=HOST),
        Row("faster_rcnn + BMC + ABM", "faster_rcnn_bmc", host=LONGER, init=HOST),
    ),
)

# Table 1 and Fig. 2 of the improved RetinaNet's paper: each row adds to the one before.
RETINANET = Experiment(
    "retinanet",
    "The improved RetinaNet",
    (
        Row("retinanet", "retinanet"),
        Row("+ searched anchors", "retinanet_anchors", host="retinanet"),
        Row("+ dense supervision", "retinanet_dense", host="+ searched anchors"),
        Row("+ attention gates", "retinanet_dense_ag", host="+ dense supervision"),
    ),
    rates=(0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    plots=(Plot(size_rate=4.0),),
)

# Tables I to IV of the "end-to-end mining" paper. Every row takes as many steps; of the ablations one seed is trained.
MINING_LABELS_ONLY = Row("mining_labels_only", "mining_labels_only", traced=True)
MINING_ADD = Row("mining_add", "mining_add", host="mining_labels_only", traced=True)
MINING_LONGER = "mining_add, twice as long"
MINING = Experiment(
    "mining",
    "Mining what was never annotated",
    (
        MINING_LABELS_ONLY,
        MINING_ADD,
        Row("mining_ignore", "mining_ignore", host="mining_labels_only", traced=True),
        # What starts from the trained detector is compared with going on for as long without hard negatives.
        Row(MINING_LONGER, "mining_add", host="mining_add", init=MINING_ADD, seeds=(0,), traced=True),
        Row(
            "mining_hard_negatives",
            "mining_hard_negatives",
            host=MINING_LONGER,
            init=MINING_ADD,
            seeds=(0,),
            traced=True,
        ),
        *(
            Row(
                f"mining_add, tau {score:g}",
                "mining_add",
                {"mining": {"score": score}},
                "mining_add",
                seeds=(0,),
                traced=True,
            )
            for score in (0.95, 0.85, 0.8)
        ),
        Row(
            "mining_add, learning rate decays",
            "mining_add",
            {"training": {"milestones": (3, 4)}},
            "mining_add",
            seeds=(0,),
            traced=True,
        ),
        Row(
            "mask_rcnn",
            "mask_rcnn",
            {"training": {"milestones": (3, 4)}},
            "mining_labels_only",
            seeds=(0,),
            traced=True,
        ),
    ),
    budget=Budget(steps=2450),
)

# What comes with the package, and the papers' comparisons once more: does their order show when training has converged?
TRAINED_OUT = Experiment(
    "trained_out",
    "Trained out",
    (
        HOST,
        # Whether there is more to gain.
        Row(LONGER, "faster_rcnn", {"training": {"epochs": 28, "milestones": (18, 24)}}, host="faster_rcnn"),
        Row("faster_rcnn_bm", "faster_rcnn_bm", host="faster_rcnn"),
        Row("faster_rcnn_bmc", "faster_rcnn_bmc", host="faster_rcnn"),
        Row("3dce_bmc", "3dce_bmc", host="faster_rcnn"),
        Row("mask_rcnn", "mask_rcnn", host="faster_rcnn"),
        Row("uldor", "uldor", host="mask_rcnn"),
        *RETINANET.rows,
        MINING_LABELS_ONLY,
        MINING_ADD,
    ),
    seeds=(0,),
    version="bundled",
)

# Table 1 of VLD's paper; the first three rows have two seeds.
ONE_SEED = (0,)
CENTERNET_2D = Row("centernet_2d", "centernet_2d", host="vld_acs", seeds=ONE_SEED)
# Lesion Harvester's three trainings: each row goes on from the one before.
CENTERNET_25D = Row("centernet_25d", "centernet_25d", host="vld_acs", seeds=ONE_SEED)
PROPOSALS = Row("lesion_harvester_proposals", "lesion_harvester_proposals", init=CENTERNET_25D, seeds=ONE_SEED)
VLD = Experiment(
    "vld",
    "Lesions as bodies",
    (
        Row("vld_acs", "vld_acs"),
        Row("vld_acs_drp", "vld_acs_drp", host="vld_acs"),
        Row("vld_acs_spr", "vld_acs_spr", host="vld_acs"),
        Row("vld_i3d", "vld_i3d", host="vld_acs", seeds=ONE_SEED),
        Row("vld_st3d", "vld_st3d", host="vld_acs", seeds=ONE_SEED),
        Row("centernet_3d", "centernet_3d", host="vld_acs", seeds=ONE_SEED),
        CENTERNET_2D,
        CENTERNET_25D,
        Row("faster_rcnn_densenet", "faster_rcnn_densenet", host="vld_acs", seeds=ONE_SEED),
        PROPOSALS,
        Row("lesion_harvester", "lesion_harvester", host="vld_acs", init=PROPOSALS, seeds=ONE_SEED),
        # The paper begins with a 2D detector's weights.
        Row("vld_acs, from centernet_2d", "vld_acs", host="vld_acs", init=CENTERNET_2D, seeds=ONE_SEED),
    ),
    plots=(),
    protocol="3d",
)
# Its last rows: each kind of box with one phase and with all three, trained and scored on the same studies.
PHASES = Experiment(
    "phases",
    "Studies of three contrast phases",
    (
        Row("vld_acs", "vld_acs"),
        Row("vld_acs_phases", "vld_acs_phases", host="vld_acs"),
        Row("vld_acs_drp", "vld_acs_drp"),
        Row("vld_acs_drp_phases", "vld_acs_drp_phases", host="vld_acs_drp"),
        Row("vld_acs_spr", "vld_acs_spr"),
        Row("vld_acs_spr_phases", "vld_acs_spr_phases", host="vld_acs_spr"),
    ),
    seeds=ONE_SEED,
    budget=Budget(train=(200, 21), test=(100, 22), phases=3),
    plots=(),
    protocol="3d",
)


def _from_host(name: str, *with_maps: Row) -> tuple[Row, ...]:
    """A host, the same for as long again, and with maps for as long again: these are compared with the second."""
    host = Row(name, name)
    longer = Row(f"{name}, twice as long", name, host=name, init=host)
    return host, longer, *(replace(row, host=longer.label, init=host) for row in with_maps)


# Rows of the bounding-map paper's Table 1 on its stronger hosts, which start from the trained host as there. MVP-Net's
# have nine slices: on three a step takes a third of the time.
HOSTS = Experiment(
    "hosts",
    "Stronger hosts",
    (
        *_from_host("mvp_3", Row("mvp_3_bmc", "mvp_bmc", {"input": {"slices": 3}})),
        *_from_host("mulan_no_recist", Row("mulan_no_recist_bmc", "mulan_no_recist_bmc")),
        *_from_host("alignshift_no_recist", Row("alignshift_no_recist_bmc", "alignshift_no_recist_bmc")),
    ),
    seeds=ONE_SEED,
    by_distance=True,
)
# AlignShift's claim is about scans of mixed slice distances, as the phantoms are: 1, 2 and 5 mm. A3D interpolates.
NO_SHIFT = "alignshift_no_recist, no shift"
DISTANCES = Experiment(
    "distances",
    "AlignShift by the slices' distance",
    (
        Row(NO_SHIFT, "alignshift_no_recist", {"detector": {"shift": "none"}}),
        Row("alignshift_no_recist, shifted whole", "alignshift_no_recist", {"detector": {"shift": "whole"}}, NO_SHIFT),
        Row("alignshift_no_recist", "alignshift_no_recist", host=NO_SHIFT),
        Row(
            "A3D without RECIST",
            "alignshift_no_recist",
            {"detector": {"shift": "learned"}, "input": {"interpolate_thick": True}},
            NO_SHIFT,
        ),
    ),
    seeds=ONE_SEED,
    by_distance=True,
)
# Table 2 of the bounding-map paper: of each part of BMC + ABM on AlignShift, with its masks of RECIST diameters and
# without, what it gives to the trained host.
ALIGNSHIFT_PARTS = Experiment(
    "alignshift",
    "What each part of BMC + ABM gives on AlignShift",
    (
        *_from_host(
            "alignshift",
            Row("alignshift, BMC objectness", "alignshift", {"supervision": {"objectness": "bmc"}}),
            Row("alignshift_bmc", "alignshift_bmc"),
        ),
        Row("a3d", "a3d", host="alignshift"),
        *_from_host(
            "alignshift_no_recist",
            Row("alignshift_no_recist, BMC without a branch", "alignshift_no_recist", {"supervision": BMC}),
            Row("alignshift_no_recist_bmc", "alignshift_no_recist_bmc"),
            Row(
                "alignshift_no_recist, BMC and BM branch",
                "alignshift_no_recist",
                {"supervision": BMC | {"roi_branch": "bm"}},
            ),
        ),
    ),
    seeds=ONE_SEED,
)
# What the bounding-map paper compares with beside its hosts; and whether a trained backbone, as Deformable DETR has one
# in its paper, is what its small version lacks.
FCOS = Row("fcos", "fcos")
OTHERS = Experiment(
    "others",
    "Detectors without anchors",
    (
        FCOS,
        Row("centernet", "centernet"),
        Row("deformable_detr", "deformable_detr"),
        Row("deformable_detr, fcos's backbone", "deformable_detr", host="deformable_detr", init=FCOS),
    ),
    seeds=ONE_SEED,
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        TWO_STAGE,
        ABLATION,
        FROM_HOST,
        RETINANET,
        MINING,
        TRAINED_OUT,
        VLD,
        PHASES,
        HOSTS,
        DISTANCES,
        ALIGNSHIFT_PARTS,
        OTHERS,
    )
}


def select(name: str | None = None, labels: Sequence[str] | None = None, seeds: str | None = None) -> list[Experiment]:
    """The experiments of that name (default all), with those rows and those seeds ("0,1") alone.

    Raises
    ------
    RecipeError
        If there is no such experiment or row, or the seeds are no numbers.
    """
    if name is not None and name not in EXPERIMENTS:
        raise RecipeError(f"There is no experiment {name}: give one of {', '.join(EXPERIMENTS)}")
    chosen = [EXPERIMENTS[name]] if name is not None else list(EXPERIMENTS.values())
    known = [row.label for experiment in chosen for row in experiment.rows]
    if unknown := [label for label in labels or () if label not in known]:
        raise RecipeError(f"There is no row {unknown[0]!r}: give one of {', '.join(known)}")
    if seeds is not None and not all(seed.strip().isdecimal() for seed in seeds.split(",")):
        raise RecipeError(f"Seeds are numbers divided by commas; found {seeds!r}")
    numbers = tuple(int(seed) for seed in seeds.split(",")) if seeds is not None else None
    return [
        replace(
            experiment,
            rows=tuple(row for row in experiment.rows if not labels or row.label in labels),
            seeds=numbers or experiment.seeds,
        )
        for experiment in chosen
    ]
