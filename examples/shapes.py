"""The objects by name: the example, and shapes that are each hard in one way for a reconstruction.

A shape is a function (random generator, lit) -> one closed solid; the generator decides its paint and details.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from bpy.types import Material
from paint import Paint
from PIL import Image, ImageDraw, ImageFont
from robot import robot
from solids import Solid, ball, blob, box, cone, from_arrays, lathe, ring, rod, tube, union, without

Shape = Callable[[np.random.Generator, bool], Solid]


def inks(rng: np.random.Generator, count: int) -> list[str]:
    """Saturated colours of different hue and lightness."""
    start = rng.uniform()
    colours = []
    for i in range(count):
        hue, value = (start + i * 0.382) % 1 * 6, rng.uniform(0.45, 0.97)
        saturation = rng.uniform(0.5, 0.9)
        rgb = [value * (1 - saturation * max(0, min((hue + k) % 6, 4 - (hue + k) % 6, 1))) for k in (5, 3, 1)]
        colours.append("#" + "".join(f"{round(255 * c):02x}" for c in rgb))
    return colours


def printed(rng: np.random.Generator) -> np.ndarray:
    """A label, (1024, 1024, 3) in [0, 1]: bars, discs and rows of small text, as on a package."""
    ink = inks(rng, 4)
    image = Image.new("RGB", (1024, 1024), ink[0])
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, r = rng.uniform(0, 1024, 2).tolist() + [rng.uniform(40, 150)]
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink[int(rng.integers(1, 4))])
    for row in range(14):
        font = ImageFont.load_default(size=float(rng.choice([28, 40, 64])))
        words = " ".join(rng.choice(["fragile", "42 kg", "RECON", "top", "lot", "3D", "#7", "keep dry"], 9).tolist())
        draw.text((-rng.uniform(0, 60), 8 + 73 * row), words, fill=rng.choice(["#ffffff", "#101010"]).item(), font=font)
    for x in np.cumsum(rng.uniform(4, 16, 24)):
        draw.rectangle((700 + x, 820, 704 + x, 980), fill="#101010")
    return np.asarray(image, np.float64) / 255


def coat(rng: np.random.Generator, lit: bool, kind: str | None = None) -> Material:
    """One of the ways to paint: cells, clouds, waves, chessboard, stripes or a print."""
    p, ink = Paint(), inks(rng, 5)
    kind = kind or rng.choice(["cells", "clouds", "waves", "chess", "stripes", "print"]).item()
    if kind == "cells":
        node = p.texture("Voronoi", rng.uniform(7, 12))
        grey = p.node("ShaderNodeSeparateColor", [node.outputs["Color"]]).outputs[0]
        colour = p.palette(grey, ink, steps=True)
    elif kind == "clouds":
        node = p.texture("Noise", rng.uniform(3, 7), Detail=4.0)
        colour = p.palette(p.ramp(node.outputs[0], 0.3, 0.7), ink)
    elif kind == "waves":
        colour = p.palette(p.texture("Wave", rng.uniform(1.5, 3), Distortion=7.0).outputs["Fac"], ink[:3])
    elif kind == "chess":
        fields = p.math("ABSOLUTE", p.math("SUBTRACT", p.checks(p.x, p.y, 0.09), p.stripes(p.z, 0.18)))
        colour = p.mix(fields, ink[0], p.palette(p.ramp(p.z, -0.5, 0.5), ink[1:3]))
    elif kind == "stripes":
        slant = p.math("ADD", p.math("ADD", p.x, p.math("MULTIPLY", p.y, 0.7)), p.z)
        colour = p.mix(p.stripes(slant, 0.13), p.palette(p.ramp(p.z, -0.5, 0.5), ink[:2]), ink[2])
    else:
        colour = p.picture(printed(rng), rng.uniform(1.2, 1.8))
    return p.finish(colour, lit=lit)


def finbox(rng: np.random.Generator, lit: bool) -> Solid:
    """A printed box with thin cooling fins, two of them broken through."""
    skin = coat(rng, lit, "print")
    parts = [box((0.6, 0.42, 0.36), skin, rounding=0.02)]
    parts += [box((0.5, 0.014, 0.34), skin, (0, y, 0.3)) for y in np.linspace(-0.18, 0.18, 7)]
    return without(union(parts), [box((0.12, 0.1, 0.16), skin, (x, 0.15, 0.33)) for x in (-0.1, 0.12)])


def carton(rng: np.random.Generator, lit: bool) -> Solid:
    """A printed box with one thin fin that has a hole: what all views together see nearly all of."""
    skin = coat(rng, lit, "print")
    x, y, z = rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.5)
    tall, thick = rng.uniform(0.15, 0.3), rng.uniform(0.012, 0.02)
    fin = box((0.7 * x, thick, tall + 0.1), skin, (0, rng.uniform(-0.2, 0.2) * y, z / 2 + tall / 2 - 0.05))
    hole = box((0.2 * x, 1.0, 0.4 * tall), skin, (rng.uniform(-0.1, 0.1), 0, z / 2 + 0.55 * tall))
    return without(union([box((x, y, z), skin), fin]), [hole])


def knot(rng: np.random.Generator, lit: bool) -> Solid:
    """A trefoil tube: genus one, much of it hidden behind itself."""
    t = np.linspace(0, 2 * math.pi, 361)
    path = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -1.3 * np.sin(3 * t)], 1) / 6
    return tube(path, 0.085, coat(rng, lit))


def pretzel(rng: np.random.Generator, lit: bool) -> Solid:
    """Two rings through one another's edge: genus two."""
    skin = coat(rng, lit)
    return union([ring(0.3, 0.11, skin, (0, 0.29, 0)), ring(0.3, 0.09, skin, (0, -0.29, 0.03), (14, 25, 0))])


def mug(rng: np.random.Generator, lit: bool) -> Solid:
    """A deep thin-walled cup with a handle."""
    skin = coat(rng, lit)
    outside = [(0.0, -0.4), (0.3, -0.4), (0.33, -0.37), (0.34, 0.38), (0.335, 0.4)]
    inside = [(0.315, 0.4), (0.31, 0.38), (0.295, -0.3), (0.26, -0.34), (0.0, -0.34)]
    t = np.radians(np.linspace(70, -70, 48))
    handle = tube(np.stack([0 * t, 0.17 + 0.34 * np.cos(t), 0.24 * np.sin(t)], 1), 0.045, coat(rng, lit, "stripes"))
    return without(union([lathe(_solid_profile(outside), skin), handle]), [lathe(_cavity(inside), skin)])


def _solid_profile(outside: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [*outside, (0.0, outside[-1][1])]


def _cavity(inside: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The hollow's profile from its floor up, a little past the rim."""
    rim = inside[0]
    return [*reversed(inside), (rim[0], rim[1] + 0.1), (0.0, rim[1] + 0.1)]


def steps(rng: np.random.Generator, lit: bool) -> Solid:
    """Flat walls that meet at right angles, a square hole, a groove."""
    skin = coat(rng, lit)
    parts = [
        box((0.9 - 0.22 * i, 0.7 - 0.1 * i, 0.18), skin, (0.11 * i - 0.1, 0.03 * i, 0.17 * i - 0.25)) for i in range(4)
    ]
    cuts = [box((0.14, 0.14, 1.2), skin, (-0.42, 0.18, 0)), box((0.08, 1.0, 0.07), skin, (-0.2, 0, -0.34))]
    return without(union(parts), cuts)


def spikes(rng: np.random.Generator, lit: bool) -> Solid:
    """A ball with thin cones."""
    parts = [ball(0.26, coat(rng, lit))]
    horn = coat(rng, lit)
    for k in range(14):
        z = 1 - 2 * (k + 0.5) / 14
        turn = k * math.pi * (3 - math.sqrt(5))
        r = math.sqrt(1 - z * z)
        d = np.array([r * math.cos(turn), r * math.sin(turn), z])
        spike = (0.0, math.degrees(math.acos(z)), math.degrees(turn))
        parts.append(cone(0.07, 0.004, 0.34, horn, (0.38 * d).tolist(), spike, segments=40))
    return union(parts)


def pieces(rng: np.random.Generator, lit: bool) -> Solid:
    """Four bodies that do not touch."""
    return union(
        [
            box((0.34, 0.3, 0.3), coat(rng, lit), (0.1, -0.35, -0.2), (20, 10, 30), rounding=0.03),
            ball(0.19, coat(rng, lit), (-0.1, 0.32, 0.1)),
            ring(0.2, 0.06, coat(rng, lit), (0, 0, 0.36), (35, 20, 0)),
            rod(0.1, 0.4, coat(rng, lit), (-0.3, 0.1, -0.3), (0, 25, 0), rounding=0.02),
        ]
    )


def column(rng: np.random.Generator, lit: bool) -> Solid:
    """A square column twisted by a turn and a quarter, between two plates."""
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)], float)
    side = np.concatenate([np.linspace(corners[i], corners[(i + 1) % 4], 16, endpoint=False) for i in range(4)])
    rows, count = [], 241
    for s in np.linspace(0, 1, count):
        a, r = math.radians(450) * s, 0.17 - 0.04 * math.sin(math.pi * s)
        turned = side @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) * r
        rows.append(np.column_stack([turned, np.full(len(side), s - 0.5)]))
    n = len(side)
    faces = [
        [i * n + k, i * n + (k + 1) % n, (i + 1) * n + (k + 1) % n, (i + 1) * n + k]
        for i in range(count - 1)
        for k in range(n)
    ]
    # The ends are fans: a polygon with points along its straight sides has no good triangulation.
    rows.append(np.array([[0, 0, -0.5], [0, 0, 0.5]]))
    for start, middle in ((0, count * n), ((count - 1) * n, count * n + 1)):
        faces += [[start + k, start + (k + 1) % n, middle] for k in range(n)]
    shaft = from_arrays(np.concatenate(rows), faces, coat(rng, lit))
    plate = coat(rng, lit)
    return union(
        [shaft, box((0.5, 0.5, 0.07), plate, (0, 0, -0.49)), rod(0.3, 0.07, plate, (0, 0, 0.49), rounding=0.02)]
    )


def pebble(rng: np.random.Generator, lit: bool) -> Solid:
    """A smooth lumpy ball: no edge to hold on to."""
    waves = rng.normal(0, 1, (6, 3)) * 2.2
    phase, height = rng.uniform(0, 6, 6), rng.uniform(0.02, 0.05, 6)

    def lumps(unit: np.ndarray) -> np.ndarray:
        return unit * (0.45 + (np.sin(unit @ waves.T + phase) * height).sum(1))[:, None]

    return blob(coat(rng, lit), lumps)


def sheet(rng: np.random.Generator, lit: bool) -> Solid:
    """A thin wavy sheet, a fiftieth of its width thick, standing on its edge."""
    n, thick = 121, 0.02
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.4, 0.4, n))
    wave = 0.09 * np.sin(6.5 * u + 2 * v) + 0.05 * np.cos(8 * v)
    top, low = (np.stack([wave + s * thick / 2, u, v], -1).reshape(-1, 3) for s in (1, -1))
    cell = np.arange(n * n).reshape(n, n)
    quads = np.stack([cell[:-1, :-1], cell[:-1, 1:], cell[1:, 1:], cell[1:, :-1]], -1).reshape(-1, 4)
    rim = np.concatenate([cell[0, :-1], cell[:-1, -1], cell[-1, :0:-1], cell[:0:-1, 0]])
    walls = np.stack([rim, np.roll(rim, -1), np.roll(rim, -1) + n * n, rim + n * n], -1)
    faces = np.concatenate([quads, quads[:, ::-1] + n * n, walls])
    return from_arrays(np.concatenate([top, low]), faces.tolist(), coat(rng, lit))


def gear(rng: np.random.Generator, lit: bool) -> Solid:
    """A toothed wheel with a bore and five holes: genus six."""
    skin, hub = coat(rng, lit), coat(rng, lit, "stripes")
    around = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    teeth = [
        box((0.12, 0.07, 0.18), skin, (0.45 * math.cos(a), 0.45 * math.sin(a), 0), (0, 0, math.degrees(a)), 0.01)
        for a in around
    ]
    wheel = union([rod(0.42, 0.18, skin, rounding=0.02), *teeth, rod(0.14, 0.34, hub, rounding=0.015)])
    spots = [(0.27 * math.cos(a), 0.27 * math.sin(a), 0) for a in np.linspace(0, 2 * math.pi, 5, endpoint=False)]
    return without(wheel, [rod(0.06, 1.0, hub), *(rod(0.075, 1.0, skin, spot) for spot in spots)])


SHAPES: dict[str, Shape] = {
    "example": lambda _rng, lit: robot(lit),
    **{
        shape.__name__: shape
        for shape in (finbox, carton, knot, pretzel, mug, steps, spikes, pieces, column, pebble, sheet, gear)
    },
}
