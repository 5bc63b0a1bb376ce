"""The organs of chest, abdomen and pelvis, in the order in which they are painted."""

from collections.abc import Sequence

import numpy as np

from .palette import Material
from .shapes import Blob, Shape, Shell, Tube, strung, tree, wobble
from .torso import DIAPHRAGM, Build


def chest(rng: np.random.Generator, build: Build, span: tuple[float, float]) -> list[Shape]:
    """Lungs with their vessels (those within `span` of t), mediastinum, heart, great vessels and airways."""
    w, d = build.width, build.depth
    shapes: list[Shape] = [
        Blob(Material.MEDIASTINAL_FAT, (0, -8, 120), (118 * w, 80 * d, 300, 130), wobble(rng, 0.01), 0.9, 4.0)
    ]
    vessels: list[Shape] = []
    for side in (-1, 1):
        lung = Blob(
            Material.LUNG,
            (side * rng.uniform(65, 69) * w, -3, 165),
            (rng.uniform(56, 60) * w, 83 * d, 165, 125),
            wobble(rng, 0.018),
            squareness=0.86,
            fullness=2.4,
            angle=side * rng.uniform(0.02, 0.12),
        )
        shapes.append(lung)
        root = np.array([side * 30 * w, 4.0, 122.0])
        targets = _inside(rng, lung, 3600, 0.97)
        targets = targets[(targets[:, 2] > span[0] - 12) & (targets[:, 2] < span[1] + 12)]
        if len(targets):
            vessels.append(Tube(Material.LUNG_VESSEL, *tree(rng, root, targets, 0.5, 7.5)))
    return [*shapes, *vessels, *_mediastinum(rng, build)]


def _inside(rng: np.random.Generator, blob: Blob, count: int, fill: float) -> np.ndarray:
    """Random points inside a blob, (n, 3), about `count` of them."""
    rx, ry, up, down = blob.radii
    low, high = np.array([-rx, -ry, -up]) * fill, np.array([rx, ry, down]) * fill
    points = np.array(blob.centre) + rng.uniform(low, high, (int(count * 2.2), 3))
    return points[blob.contains(points)][:count]


def _vertical(
    rng: np.random.Generator, label: int, x: float, y: float, span: tuple[float, float], radius: float, sway: float = 3
) -> Tube:
    """A tube down the body that sways a little."""
    t = np.arange(span[0], span[1] + 1, 15.0)
    phase = rng.uniform(0, 2 * np.pi, 2)
    path = np.stack([x + sway * np.sin(t / 70 + phase[0]), y + sway * np.sin(t / 90 + phase[1]), t], axis=1)
    return Tube(label, *strung(path, radius, radius / 5))


def _tube(label: int, path: Sequence[tuple[float, float, float]], radius: float) -> Tube:
    """A tube along a smoothed path."""
    corners = np.array(path, dtype=float)
    for _ in range(2):  # Chaikin's corner cutting
        inner = np.stack([0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]], axis=1)
        corners = np.vstack([corners[:1], inner.reshape(-1, 3), corners[-1:]])
    return Tube(label, *strung(corners, radius, radius / 5))


def _mediastinum(rng: np.random.Generator, build: Build) -> list[Shape]:
    w, s = build.width, build.spine
    r = rng.uniform(0.92, 1.12)
    arch = 78 + rng.uniform(-4, 4)
    aorta = _tube(
        Material.ARTERY,
        [
            (-14, -30, 150),
            (-16, -36, 118),
            (-12, -34, arch + 4),
            (4, -10, arch - 12),
            (20, 18, arch),
            (22, s - 18, 105),
            (20, s - 20, 150),
            (16, s - 22, 230),
            (9, s - 28, 290),
        ],
        12.5 * r,
    )
    pulmonary = [
        _tube(Material.ARTERY, [(16, -36, 150), (18, -30, 125), (12, -10, 114)], 12.5 * r),
        _tube(Material.ARTERY, [(14, -16, 115), (-8, -8, 116), (-34 * w, -2, 121)], 9.5 * r),
        _tube(Material.ARTERY, [(14, -14, 112), (24, 0, 110), (36 * w, 8, 116)], 9.0 * r),
        _tube(Material.VEIN, [(-38 * w, 4, 138), (-14, 2, 146), (16, 4, 146), (38 * w, 6, 136)], 7.0 * r),
    ]
    neck = [
        _tube(Material.ARTERY, [(-10, -28, arch - 8), (-16, -24, 40), (-22, -20, -20)], 5.5),
        _tube(Material.ARTERY, [(4, -18, arch - 10), (8, -14, 40), (14, -10, -20)], 4.2),
        _tube(Material.ARTERY, [(14, -4, arch - 8), (18, 0, 40), (28, 4, -20)], 4.6),
        _tube(
            Material.VEIN,
            [(30, -26, 20), (14, -40, 52), (-16, -36, 66), (-27, -26, 80), (-26, -18, 120), (-26, -14, 155)],
            7.2 * r,
        ),
        _tube(Material.VEIN, [(-34, -22, 0), (-28, -26, 50), (-27, -26, 80)], 6.5),
        _tube(Material.VEIN, [(-7, s - 18, 250), (-7, s - 17, 120), (-14, 4, 100), (-24, -16, 104)], 3.2),
    ]
    trachea = _vertical(rng, Material.AIRWAY_WALL, -2, 6, (-30, 98), 9.6, 1.0)
    airways: list[Shape] = [trachea, Tube(Material.AIRWAY, trachea.points, trachea.radii - 1.7)]
    for path in ([(-2, 6, 96), (-18, 8, 108), (-40 * w, 10, 124)], [(-2, 6, 96), (20, 9, 112), (44 * w, 14, 130)]):
        bronchus = _tube(Material.AIRWAY_WALL, path, 6.8)
        airways += [bronchus, Tube(Material.AIRWAY, bronchus.points, bronchus.radii - 1.5)]
    gullet = _vertical(rng, Material.OESOPHAGUS, 6, s - 26, (-30, 245), 6.0, 2.0)
    lumen = _vertical(rng, Material.AIRWAY, 6, s - 26, (-30, 60), 1.6, 2.0)
    return [*_heart(rng, build), *neck, *pulmonary, aorta, *airways, gullet, lumen]


def _heart(rng: np.random.Generator, build: Build) -> list[Shape]:
    w = build.width
    size = rng.uniform(0.92, 1.1)
    angle = 0.45
    sac = Blob(
        Material.MEDIASTINAL_FAT, (14 * w, -24, 188), (60 * w * size, 46 * size, 52, 48), wobble(rng, 0.03), angle=angle
    )
    muscle = Blob(
        Material.HEART_WALL, (16 * w, -22, 190), (52 * w * size, 38 * size, 46, 40), wobble(rng, 0.03), angle=angle
    )
    chambers = [
        Blob(Material.ARTERY, (36 * w, -16, 196), (25 * size, 15 * size, 34, 28), wobble(rng, 0.08), angle=0.75),
        Blob(Material.VEIN, (10 * w, -38, 192), (27 * size, 13 * size, 34, 30), wobble(rng, 0.1), angle=0.4),
        Blob(Material.VEIN, (-22 * w, -18, 185), (16 * size, 22 * size, 32, 32), wobble(rng, 0.07)),
        Blob(Material.ARTERY, (4 * w, 6, 170), (27 * size, 15 * size, 26, 24), wobble(rng, 0.06)),
    ]
    return [sac, muscle, *chambers]


def abdomen(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Liver, spleen, stomach, pancreas, kidneys, great vessels and bowel in their fat."""
    w, d, s = build.width, build.depth, build.spine
    top = DIAPHRAGM + rng.uniform(-8, 8)
    dome = Blob(Material.ABDOMINAL_FAT, (62 * w, -4, top + 60), (54 * w, 74 * d, 56, 300), wobble(rng, 0.02), 0.92, 2.5)
    rest = Blob(Material.ABDOMINAL_FAT, (0, -8, top + 130), (119 * w, 79 * d, 90, 400), wobble(rng, 0.01), 0.88, 5.0)
    return [
        dome,
        rest,
        *_bowel(rng, build),
        *_mesentery(rng, build),
        *_liver(rng, build, top),
        *_left_upper(rng, build, top),
        *_kidneys(rng, build),
        _vertical(rng, Material.ARTERY, 6, s - 30, (285, 425), 9.5 * rng.uniform(0.85, 1.15), 2),
        _vertical(rng, Material.VEIN, -20, s - 27, (175, 425), 10.5 * rng.uniform(0.85, 1.15), 2),
        *_psoas(rng, build),
        *_crura(rng, build),
    ]


def _psoas(rng: np.random.Generator, build: Build) -> list[Shape]:
    return [
        Blob(
            Material.MUSCLE,
            (side * 36 * build.width, build.spine - 2, 420),
            (15, 19, 100, 110),
            wobble(rng, 0.05),
            lean=(side * 0.16, -0.12),
            angle=side * 0.3,
        )
        for side in (-1, 1)
    ]


def _crura(rng: np.random.Generator, build: Build) -> list[Shape]:
    return [
        Blob(Material.MUSCLE, (side * 14, build.spine - 20, 270), (6, 15, 50, 50), wobble(rng, 0.08), angle=-side * 0.5)
        for side in (-1, 1)
    ]


def _liver(rng: np.random.Generator, build: Build, top: float) -> list[Shape]:
    w, d = build.width, build.depth
    right = Blob(
        Material.LIVER,
        (-62 * w, -2, top + 72),
        (58 * w, 70 * d, 74, 95),
        wobble(rng, 0.035),
        0.92,
        2.3,
        (0.05, 0.0),
    )
    left = Blob(
        Material.LIVER, (-5 * w, -36 * d, top + 55), (66 * w, 34 * d, 46, 62), wobble(rng, 0.06), 1.0, 2.2, angle=-0.15
    )
    portal = tree(rng, np.array([-22 * w, 4.0, top + 85]), _inside(rng, right, 90, 0.92), 1.15, 6.5)
    hepatic = tree(rng, np.array([-20 * w, 22.0, top + 12]), _inside(rng, right, 60, 0.92), 1.2, 5.5)
    over = tree(rng, np.array([-18 * w, -8.0, top + 70]), _inside(rng, left, 40, 0.85), 1.0, 4.0)
    vessels: list[Shape] = [Tube(Material.LIVER_VESSEL, *path) for path in (portal, hepatic, over)]
    bladder = Blob(
        Material.GALLBLADDER,
        (-38 * w, -28 * d, top + 120),
        (12, 17, 24, 28),
        wobble(rng, 0.04),
        angle=rng.uniform(-1, 1),
    )
    main = _tube(
        Material.VEIN, [(-24 * w, 2, top + 84), (-8, 4, top + 98), (10, 8, top + 104), (60 * w, 30, top + 85)], 5.8
    )
    return [right, left, *vessels, Shell(bladder, Material.STOMACH_WALL, 1.2), main]


def _left_upper(rng: np.random.Generator, build: Build, top: float) -> list[Shape]:
    w, d = build.width, build.depth
    spleen = Blob(Material.SPLEEN, (92 * w, 30 * d, top + 75), (20 * w, 38 * d, 44, 48), wobble(rng, 0.06), angle=0.35)
    stomach = Blob(
        Material.FLUID,
        (52 * w, -28 * d, top + 68),
        (36 * w * rng.uniform(0.8, 1.1), 30 * d, 50, 52),
        wobble(rng, 0.05),
        lean=(-0.35, 0.1),
    )
    gas = Blob(
        Material.GAS, (52 * w, -44 * d, top + 62), (26 * w, 9 * d, 42, 38), wobble(rng, 0.03), 0.8, 2.5, (-0.35, 0.1)
    )
    pancreas = _tube(
        Material.PANCREAS,
        [
            (-26 * w, 2, top + 128),
            (-14 * w, -4, top + 112),
            (12, -8, top + 100),
            (40 * w, 14, top + 92),
            (72 * w, 30, top + 82),
        ],
        9.0 * rng.uniform(0.8, 1.15),
    )
    return [spleen, pancreas, Shell(stomach, Material.STOMACH_WALL, 3.5), gas]


def _kidneys(rng: np.random.Generator, build: Build) -> list[Shape]:
    shapes: list[Shape] = []
    for side, t in ((-1, 338.0), (1, 325.0)):
        size = rng.uniform(0.88, 1.1)
        x, y, t = side * 58 * build.width, build.spine - 12, t + rng.uniform(-8, 8)
        kidney = Blob(
            Material.KIDNEY_CORTEX,
            (x, y, t),
            (25 * size, 28 * size, 54, 54),
            wobble(rng, 0.035),
            angle=-side * 0.5,
            lean=(side * 0.08, -0.06),
        )
        sinus = Blob(
            Material.KIDNEY_SINUS,
            (x - side * 11, y - 3, t),
            (15 * size, 9 * size, 33, 33),
            wobble(rng, 0.2),
            angle=side * 0.3,
        )
        shapes.append(kidney)
        for level in np.arange(-34, 35, 11.0):
            for angle in np.linspace(-2.0, 2.0, 5) + rng.normal(0, 0.12, 5):
                shrink = (1 - (level / 54) ** 2) ** 0.5
                px, py = x + side * 14 * size * shrink * np.cos(angle), y + 16 * size * shrink * np.sin(angle)
                shapes.append(
                    Blob(
                        Material.KIDNEY_MEDULLA,
                        (px, py, t + level),
                        (6.5 * shrink, 5.5 * shrink, 6, 6),
                        wobble(rng, 0.08),
                        angle=side * angle,
                    )
                )
        shapes.append(sinus)
        shapes.append(
            _tube(Material.VEIN, [(x - side * 8, y - 4, t), (side * 26, y - 14, t - 6), (-8, y - 18, t - 10)], 4.5)
        )
    return shapes


def _bowel(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Loops of small bowel and the colon, with wall, contents and gas that has risen to the front."""
    w, d = build.width, build.depth
    shapes: list[Shape] = []
    oral = rng.random() < 0.4
    for _ in range(8):
        start = np.array([rng.uniform(-62, 72) * w, rng.uniform(-56, 8) * d, rng.uniform(285, 480)])
        path = _loops(rng, start, 14, np.array([75 * w, 34 * d, 105]), np.array([5.0, -26 * d, 390]))
        contents = Material.ORAL_CONTRAST if oral and rng.random() < 0.6 else Material.CHYME
        if rng.random() < 0.2:
            contents = Material.GAS
        shapes += _gut(path, rng.uniform(8.5, 12.5), rng.uniform(1.8, 3.2), contents)
    colon = [
        ([(-92, 18, 490), (-96, 22, 420), (-94, 18, 360), (-88, -4, 330)], Material.STOOL),
        ([(-88, -6, 328), (-60, -48, 335), (-10, -58, 352), (50, -54, 330), (86, -14, 288)], Material.GAS),
        ([(86, -12, 286), (100, 26, 310), (98, 28, 380), (92, 22, 450), (66, 14, 490)], Material.STOOL),
    ]
    for corners, contents in colon:
        path = np.array(corners) * [w, d, 1] + rng.normal(0, 3, (len(corners), 3))
        dense, _ = strung(path, 1.0, 3.0)
        shapes += _gut(dense, rng.uniform(15, 21), 2.4, contents, 2.2)
    return shapes


def _loops(
    rng: np.random.Generator, start: np.ndarray, turns: int, reach: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """A winding path that stays near `centre`, (n, 3)."""
    points = [start]
    heading = rng.normal(0, 1, 3)
    for _ in range(turns):
        pull = (centre - points[-1]) / reach
        heading = 0.55 * heading + rng.normal(0, 1, 3) + 0.5 * pull
        step = points[-1] + 20 * heading / np.linalg.norm(heading)
        points.append(centre + np.clip(step - centre, -reach, reach))
    corners = np.array(points)
    for _ in range(2):
        inner = np.stack([0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]], axis=1)
        corners = inner.reshape(-1, 3)
    return corners


def _gut(path: np.ndarray, radius: float, wall: float, contents: int, haustra: float = 0.8) -> list[Shape]:
    """Wall and contents of a piece of bowel along `path`."""
    points, radii = strung(path, radius, radius / 4)
    radii = radii + haustra * np.sin(np.arange(len(radii)) * 0.55)
    return [Tube(Material.BOWEL_WALL, points, radii), Tube(contents, points, radii - wall)]


def _mesentery(rng: np.random.Generator, build: Build) -> list[Shape]:
    w, d, s = build.width, build.depth, build.spine
    root = np.array([-4.0, s - 48, 330.0])
    box = np.array([80 * w, 42 * d, 95])
    targets = np.array([4.0, -14 * d, 375.0]) + rng.uniform(-1, 1, (150, 3)) * box
    stem = _tube(Material.ARTERY, [(4, s - 36, 300), (2, s - 46, 325), (0, s - 52, 400)], 3.8)
    return [Tube(Material.MESENTERIC_VESSEL, *tree(rng, root, targets, 0.75, 4.5)), stem]


def pelvis(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Bladder, rectum, sigmoid, uterus or prostate, iliac vessels and muscles in their fat."""
    w, d, s = build.width, build.depth, build.spine
    shapes: list[Shape] = [
        Blob(Material.PELVIC_FAT, (0, -6, 480), (98 * w, 70 * d, 80, 200), wobble(rng, 0.01), 0.9, 5.0),
        *_bowel(rng, build),
        *_psoas(rng, build),
    ]
    for side in (-1, 1):
        path = [
            (side * 6, s - 28, 415),
            (side * 24 * w, s - 30, 440),
            (side * 46 * w, -6, 480),
            (side * 66 * w, -42, 530),
        ]
        shapes.append(_tube(Material.ARTERY, path, 4.8 * rng.uniform(0.8, 1.2)))
        lower = [(x - side * 2, y + 12, t) for x, y, t in path]
        shapes.append(_tube(Material.PELVIC_VESSEL, lower, 6.0 * rng.uniform(0.8, 1.15)))
        inner = np.array([side * 36.0 * w, 16.0, 455.0])
        targets = np.array([side * 42 * w, 14, 500]) + rng.uniform(-1, 1, (26, 3)) * [24, 30, 55]
        shapes.append(Tube(Material.PELVIC_VESSEL, *tree(rng, inner, targets, 0.9, 3.8)))
        shapes.append(
            Blob(Material.MUSCLE, (side * 68 * w, 26, 505), (8, 30, 45, 60), wobble(rng, 0.06), angle=side * 0.35)
        )
    sigmoid = _loops(rng, np.array([52 * w, 6.0, 455.0]), 9, np.array([45, 26, 40]), np.array([8.0, 4.0, 475.0]))
    shapes += _gut(sigmoid, rng.uniform(11, 14), 2.8, Material.STOOL, 1.6)
    rectum, _ = strung(np.array([[4, s - 14, 470], [0, s + 2, 500], [0, s, 580]], dtype=float), 1.0, 3.0)
    shapes += _gut(rectum, rng.uniform(14, 19), 3.2, Material.GAS if rng.random() < 0.4 else Material.STOOL, 1.0)
    if build.female:
        shapes.append(
            Blob(Material.UTERUS, (rng.uniform(-8, 8), 8, 498), (27, 20, 28, 32), wobble(rng, 0.06), angle=0.2)
        )
    else:
        shapes.append(Blob(Material.UTERUS, (0, 2, 548), (22, 18, 22, 24), wobble(rng, 0.05)))
    fill = rng.uniform(0.6, 1.15)
    bladder = Blob(Material.BLADDER, (0, -30, 515), (36 * fill, 26 * fill, 34 * fill, 40), wobble(rng, 0.03), 0.95)
    shapes.append(Shell(bladder, Material.STOMACH_WALL, 2.6))
    return shapes
