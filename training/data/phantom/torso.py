"""A patient's build, body wall and bones."""

from dataclasses import dataclass

import numpy as np

from .palette import Material
from .shapes import Below, Blob, Ring, Shape, Sheet, Shell, Tube, Wobble, strung, wobble

# Where things lie along the body, mm from the lungs' apex towards the feet.
DIAPHRAGM = 190.0
CREST = 405.0
FEMORAL_HEAD = 530.0
VERTEBRA = 27.0
_FLAT = Wobble(np.zeros(1), np.zeros(1), np.zeros(1))


@dataclass(frozen=True)
class Build:
    """A patient's proportions.

    Parameters
    ----------
    width, depth
        Scale of everything across and front to back.
    fat
        Thickness of the subcutaneous fat in mm.
    female
        Whether the pelvis holds a uterus.
    spine
        y of the vertebral bodies' centre in mm.
    """

    width: float
    depth: float
    fat: float
    female: bool
    spine: float


def draw_build(rng: np.random.Generator) -> Build:
    """Draw one patient's proportions."""
    width = float(np.clip(rng.normal(0.98, 0.07), 0.82, 1.15))
    depth = float(np.clip(width * rng.normal(1.0, 0.06), 0.82, 1.2))
    fat = float(np.clip(rng.gamma(3.0, 5.0), 5, 38))
    return Build(width, depth, fat, bool(rng.random() < 0.5), 50 * depth)


def cavity(rng: np.random.Generator, build: Build, region: str) -> Blob:
    """Outline of what lies inside the body wall."""
    fat = {"chest": Material.MEDIASTINAL_FAT, "abdomen": Material.ABDOMINAL_FAT, "pelvis": Material.PELVIC_FAT}[region]
    half = {"chest": (126, 84), "abdomen": (121, 80), "pelvis": (100, 72)}[region]
    middle = {"chest": 140, "abdomen": 300, "pelvis": 470}[region]
    radii = (half[0] * build.width, half[1] * build.depth, 400.0, 400.0)
    fullness = 3.0 if region != "chest" else 2.2
    return Blob(fat, (0, -8.0, middle), radii, wobble(rng, 0.012, 4), squareness=0.86, fullness=fullness)


def wall(rng: np.random.Generator, build: Build, inside: Blob) -> list[Shape]:
    """Muscle, fat and skin about the cavity, and the air outside."""
    thick = _wall(inside)
    rx, ry = inside.radii[0] + thick, inside.radii[1] + thick * 0.8
    drawn = wobble(rng, 0.009, 5)
    # The third harmonic flattens the back and rounds the front, as in a patient on a table.
    flat = np.where(np.arange(5) == 1, 0.022, 0.0)
    bumps = Wobble(
        drawn.amplitudes * (flat == 0) + flat, np.where(flat > 0, -np.pi / 2, drawn.phases), drawn.twists * (flat == 0)
    )

    def layer(across: float, ahead: float, shift: float) -> Blob:
        return Blob(
            Material.MUSCLE, (0, -2.0 + shift, inside.centre[2]), (rx + across, ry + ahead, 900, 900), bumps, 0.88, 2.4
        )

    muscle = layer(0, 0, 0)
    front, side = build.fat * rng.uniform(0.8, 1.2), build.fat * rng.uniform(1.0, 1.5)
    shift = (build.fat * 0.9 - front) / 2
    fat = layer(side, (front + build.fat * 0.9) / 2, shift)
    skin = layer(side + 2.0, (front + build.fat * 0.9) / 2 + 2.0, shift)
    shapes: list[Shape] = [Ring(Material.MUSCLE, inside, layer(1, 1, 0))]
    for depth in np.sort(rng.uniform(0.25, 0.85, 3 if thick > 20 else 2)):
        shapes += _fat_planes(rng, inside, thick * float(depth))
    shapes += _back(rng, build)
    shapes.append(Ring(Material.FAT, muscle, fat))
    if inside.centre[2] < 400:
        shapes += _outer_muscles(rng, build, muscle)
    return [*shapes, Ring(Material.SKIN, fat, skin), Ring(Material.AIR, skin)]


def _wall(inside: Blob) -> float:
    """Thickness in mm of the muscles about a cavity."""
    return 15.0 if inside.centre[2] < 400 else 38.0


def _fat_planes(rng: np.random.Generator, inside: Blob, depth: float) -> list[Shape]:
    """Fat between the sheets of muscle: pieces of an outline inside the wall."""
    outline = inside.contour(inside.centre[2], depth)
    if outline is None:
        return []
    pieces: list[Shape] = []
    for start in range(0, len(outline), 16):
        length = int(rng.integers(6, 14))
        rows = np.arange(start, start + length) % len(outline)
        line = outline[rows] + np.linspace(-1, 1, length)[:, None] * rng.normal(0, 2.5, 2)
        ends = [np.column_stack([line + rng.normal(0, 1.5, 2), np.full(length, z)]) for z in (-50.0, 700.0)]
        pieces.append(Sheet(Material.FAT_PLANE, ends[0], ends[1], float(rng.uniform(0.7, 1.8))))
    return pieces


def _back(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Muscles along the spine, with the fat between them."""
    shapes: list[Shape] = []
    y = build.spine + 31
    for side in (-1, 1):
        for x, r in ((21, (16, 13)), (46, (13, 9))):
            centre = (side * x * build.width, y + rng.uniform(-1, 2), 250.0)
            radii = (r[0] * rng.uniform(0.9, 1.1), r[1] * rng.uniform(0.9, 1.1), 600.0, 600.0)
            bundle = Blob(Material.MUSCLE, centre, radii, wobble(rng, 0.06, 4), angle=side * 0.2)
            shapes.append(Shell(bundle, Material.FAT_PLANE, 1.2))
    return shapes


def _outer_muscles(rng: np.random.Generator, build: Build, muscle: Blob) -> list[Shape]:
    """Pectoral muscles and shoulder blades' muscles, which lie on the chest wall, upper chest only."""
    rx, ry = muscle.radii[0], muscle.radii[1]
    shapes: list[Shape] = []
    for side in (-1, 1):
        angle = side * 0.35
        pectoral = (side * 0.52 * rx, -0.88 * ry, 60.0)
        shapes.append(
            Blob(Material.MUSCLE, pectoral, (0.36 * rx, 9, 150, 85), wobble(rng, 0.05), angle=angle, squareness=0.9)
        )
        blade = (side * 0.86 * rx, 0.55 * ry, 70.0)
        shapes.append(Blob(Material.MUSCLE, blade, (0.3 * rx, 17, 200, 90), wobble(rng, 0.06), angle=-side * 0.95))
        along = np.array([np.cos(-side * 0.95), np.sin(-side * 0.95)])
        offsets = np.linspace(-0.22, 0.22, 7)[:, None] * rx * along
        bent = np.array(blade[:2]) + offsets + np.cos(np.linspace(-1.5, 1.5, 7))[:, None] * rng.uniform(1, 4)
        for label, width in ((Material.CORTEX, 4.6), (Material.MARROW, 2.0)):
            ends = [np.column_stack([bent, np.full(7, z)]) for z in (-60.0, 135.0)]
            shapes.append(Sheet(label, ends[0], ends[1], width))
    return shapes


def spine(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Vertebrae with canal, arches and processes, and the discs between them."""
    shapes: list[Shape] = []
    y = build.spine
    offset = rng.uniform(0, VERTEBRA)
    for k in range(-1, 18):
        t = offset + k * VERTEBRA
        size = (13 + 0.011 * max(t, 0)) * build.width
        shapes += _vertebra(rng, build, t, size)
    canal = Blob(Material.CANAL, (0, y + 24, 200.0), (9.5, 8.0, 800.0, 800.0), _FLAT)
    cord = Blob(Material.CORD, (0, y + 24, 100.0), (5.5, 4.5, 400.0, 210.0), _FLAT)
    return [*shapes, canal, cord]


def _vertebra(rng: np.random.Generator, build: Build, t: float, size: float) -> list[Shape]:
    y = build.spine
    rough = wobble(rng, 0.03, 4)
    half = VERTEBRA / 2
    disc = Blob(Material.DISC, (0, y, t + half), (size * 1.02, size * 0.82, 4.5, 4.5), rough, 0.9, 6.0)
    body = Blob(Material.MARROW, (0, y, t), (size * 1.0, size * 0.8, half - 2.4, half - 2.4), rough, 0.9, 8.0)
    shapes: list[Shape] = [disc, Shell(body, Material.CORTEX, 1.3)]
    back = y + 0.8 * size
    for side in (-1, 1):
        pedicle = np.array([[side * 0.62 * size, back - 2, t - 5], [side * 14.0, back + 16, t - 3]])
        lamina = np.array([[side * 14.0, back + 16, t - 2], [side * 1.0, y + 32, t + 6]])
        transverse = np.array([[side * 13.0, back + 14, t - 3], [side * (34 + rng.uniform(-3, 4)), back + 20, t - 4]])
        for path, r in ((pedicle, 4.6), (lamina, 3.6), (transverse, 4.2)):
            points, radii = strung(path, r, 1.5)
            shapes += [Tube(Material.CORTEX, points, radii), Tube(Material.MARROW, points, radii - 1.5)]
    spinous = np.array([[0, y + 31, t + 5], [rng.normal(0, 1), y + 38 * build.depth, t + 17]])
    points, radii = strung(spinous, 3.6, 1.5)
    return [*shapes, Tube(Material.CORTEX, points, radii), Tube(Material.MARROW, points, radii - 1.6)]


def ribs(rng: np.random.Generator, build: Build, inside: Blob) -> list[Shape]:
    """Twelve ribs a side, sloping down to the front, and the breast bone."""
    shapes: list[Shape] = []
    rx, ry = inside.radii[0] + 5.5, inside.radii[1] + 4.5
    for k in range(12):
        start = -45 + k * 25.0 + rng.uniform(-2, 2)
        sweep = np.linspace(0.12, 0.93 if k < 7 else 0.93 - 0.13 * (k - 6), 40)
        for side in (-1, 1):
            angle = np.pi / 2 - side * sweep * np.pi
            x = rx * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.86
            y = inside.centre[1] + ry * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.86
            t = start + 118 * sweep - 20 * sweep * (sweep > 0.8) * (sweep - 0.8)
            narrow = min(1.0, 0.62 + 0.09 * k)  # the upper ribs' arcs are shorter
            points, radii = strung(np.column_stack([x * narrow, y * (0.9 + 0.1 * narrow), t]), 4.2, 1.4)
            shell = Material.CARTILAGE if k > 6 else Material.CORTEX
            front = y.min() * 0.62
            bony = points[:, 1] > front
            shapes.append(Tube(Material.CORTEX, points[bony], radii[bony]))
            shapes.append(Tube(Material.MARROW, points[bony], radii[bony] - 1.5))
            if not bony.all():
                shapes.append(Tube(shell if k > 6 else Material.CARTILAGE, points[~bony], radii[~bony] - 0.5))
    sternum = Blob(
        Material.MARROW, (0, inside.centre[1] - ry - 1.5, 90.0), (17, 5, 75, 85), wobble(rng, 0.05), 0.8, 5.0
    )
    return [*shapes, Shell(sternum, Material.CORTEX, 1.4)]


def pelvic_bones(rng: np.random.Generator, build: Build) -> list[Shape]:
    """Sacrum, iliac wings, hip sockets and femoral heads."""
    w = build.width
    sacrum = Blob(
        Material.MARROW, (0, build.spine + 8, CREST + 45), (44 * w, 20, 45, 70), wobble(rng, 0.05), 0.95, 2.5, (0, 0.35)
    )
    shapes: list[Shape] = [Shell(sacrum, Material.CORTEX, 1.6)]
    for side in (-1, 1):
        top = np.array([[52, 64], [70, 56], [88, 36], [106, 14], [119, -16], [120, -32]]) * [side * w, 1]
        low = np.array([[50, 54], [62, 50], [74, 36], [84, 18], [99, 4], [106, -12]]) * [side * w, 1]
        ends = [np.column_stack([top, np.full(6, CREST - 5)]), np.column_stack([low, np.full(6, CREST + 98)])]
        width = rng.uniform(9, 13)
        shapes.append(Sheet(Material.CORTEX, ends[0], ends[1], width))
        shapes.append(Sheet(Material.MARROW, ends[0], ends[1], width - 4))
        for y, bend in ((56, 0.4), (-2, 0.2)):
            column = Blob(
                Material.MARROW,
                (side * 84 * w, y * 0.5, FEMORAL_HEAD - 12),
                (19, 17, 26, 60),
                wobble(rng, 0.08),
                angle=side * bend,
            )
            shapes.append(Shell(column, Material.CORTEX, 2.0))
        gap = Blob(Material.CARTILAGE, (side * 90 * w, 2, FEMORAL_HEAD), (27, 27, 27, 27), _FLAT)
        head = Blob(Material.MARROW, (side * 91 * w, 2, FEMORAL_HEAD), (23, 23, 23, 40), wobble(rng, 0.02))
        shapes += [gap, Shell(head, Material.CORTEX, 1.4)]
    return shapes


def hips(rng: np.random.Generator, build: Build, inside: Blob) -> list[Shape]:
    """Pelvic bones of a torso drawn as one, and from the iliac crest down the thick muscles outside its pelvis."""
    muscles = Ring(Material.MUSCLE, cavity(rng, build, "pelvis"), inside)
    return [Below(muscles, CREST), *pelvic_bones(rng, build)]


def table(rng: np.random.Generator, build: Build, inside: Blob) -> list[Shape]:
    """The table under the patient: a thin curved shell about a light core."""
    x = np.linspace(-215, 215, 41)
    back = inside.radii[1] + _wall(inside) * 0.8 + 0.88 * build.fat + rng.uniform(-1, 3)
    shapes: list[Shape] = []
    for y, label, width in ((11, Material.TABLE_CORE, 20.0), (0, Material.TABLE, 2.2), (22, Material.TABLE, 2.2)):
        curve = back + y - 0.0006 * x**2
        ends = [np.column_stack([x, curve, np.full(x.size, z)]) for z in (-200.0, 900.0)]
        shapes.append(Sheet(label, ends[0], ends[1], width))
    return shapes
