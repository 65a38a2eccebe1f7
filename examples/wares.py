"""Things that people have: a vase, a toy dog, a shoe, a bottle with a label, a chair. Names as in shapes.py."""

from __future__ import annotations

import math

import numpy as np
import shapes
from bpy.types import Material
from paint import Paint
from shapes import Shape, coat, inks, printed
from solids import Solid, ball, box, from_arrays, lathe, ring, rod, tube, union, without


def _curve(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """A smooth (radius, z) profile through points of rising z."""
    r, z = np.array(points).T
    at = np.linspace(z[0], z[-1], count)
    # Hermite cubics with the slopes of the neighbours' chords.
    slope = np.gradient(r, z)
    k = np.clip(np.searchsorted(z, at, "right") - 1, 0, len(z) - 2)
    h = z[k + 1] - z[k]
    t = (at - z[k]) / h
    a, b = t * t * (3 - 2 * t), t * (1 - t)
    radius = r[k] * (1 - a) + r[k + 1] * a + h * b * ((1 - t) * slope[k] - t * slope[k + 1])
    return list(zip(radius.tolist(), at.tolist(), strict=True))


def _glaze(rng: np.random.Generator, lit: bool) -> Material:
    """Clouds of two near colours with painted bands: what a potter does."""
    p, ink = Paint(), inks(rng, 5)
    clouds = p.palette(p.ramp(p.texture("Noise", 4.0, Detail=5.0).outputs[0], 0.3, 0.7), ink[:2])
    turn = p.math("ARCTAN2", p.y, p.x)
    wave = p.math("MULTIPLY", p.math("SINE", p.math("MULTIPLY", turn, 9.0)), 0.03)
    band = p.between(p.math("ADD", p.z, wave), -0.06, 0.05)
    dots = p.dots(p.math("MULTIPLY", turn, 0.16), p.math("ADD", p.z, 0.03), 0.1, 0.033)
    row = p.math("MULTIPLY", dots, p.between(p.z, 0.12, 0.27))
    colour = p.mix(row, p.mix(band, clouds, ink[2]), ink[3])
    return p.finish(p.mix(p.between(p.z, -0.4, -0.36), colour, ink[4]), lit=lit)


def vase(rng: np.random.Generator, lit: bool) -> Solid:
    """A bellied vase, open at the top."""
    skin = _glaze(rng, lit)
    belly, neck = rng.uniform(0.24, 0.3), rng.uniform(0.09, 0.13)
    outside = [(0.14, -0.5), (0.2, -0.38), (belly, -0.12), (0.22, 0.15), (neck, 0.34), (neck + 0.02, 0.43), (0.18, 0.5)]
    inside = [(max(r - 0.03, 0.03), z) for r, z in outside[2:]]
    body = lathe([(0.0, -0.5), *_curve(outside, 90), (0.0, 0.5)], skin)
    hollow = _curve([(0.05, -0.3), *inside], 80)
    top = hollow[-1][0]
    return without(body, [lathe([(0.0, -0.3), *hollow, (top, 0.6), (0.0, 0.6)], skin)])


def _fur(rng: np.random.Generator, lit: bool) -> Material:
    p, ink = Paint(), inks(rng, 3)
    spots = p.ramp(p.texture("Noise", 3.0, Detail=2.0).outputs[0], 0.5, 0.53)
    strand = p.ramp(p.texture("Noise", 40.0, Detail=3.0).outputs[0], 0.25, 0.75)
    light = p.palette(strand, ["#b98a55", "#e6c796"])
    return p.finish(p.mix(spots, light, p.palette(strand, ["#4a2f1c", ink[0]])), lit=lit)


def dog(rng: np.random.Generator, lit: bool) -> Solid:
    """A toy dog with a collar, standing."""
    fur, dark, red = _fur(rng, lit), coat(rng, lit, "clouds"), coat(rng, lit, "stripes")
    parts = [ball(0.2, fur, (0, 0, 0), (1.75, 0.95, 1.0)), ball(0.16, fur, (0.36, 0, 0.3), (1.0, 0.95, 1.0))]
    parts.append(tube(np.array([(0.24, 0, 0.06), (0.31, 0, 0.2), (0.34, 0, 0.28)]), 0.115, fur))
    parts.append(ball(0.085, fur, (0.5, 0, 0.25), (1.2, 0.9, 0.8)))
    parts.append(ball(0.03, dark, (0.6, 0, 0.28)))
    parts.append(ring(0.122, 0.02, red, (0.285, 0, 0.155), (0, 25, 0)))
    t = np.linspace(0, 1, 24)
    parts.append(tube(np.stack([-0.3 - 0.16 * t, 0.05 * t, 0.06 + 0.3 * t**2], 1), 0.045 - 0.02 * t, fur))
    for side in (1, -1):
        parts.append(ball(0.09, dark, (0.34, side * 0.14, 0.3), (0.55, 0.3, 1.3)))
        parts.append(ball(0.024, dark, (0.475, side * 0.07, 0.36)))
        for x in (0.22, -0.22):
            parts.append(rod(0.065, 0.36, fur, (x, side * 0.11, -0.22), rounding=0.02))
            parts.append(ball(0.075, dark, (x + 0.03, side * 0.11, -0.39), (1.2, 0.9, 0.6)))
    return union(parts)


def _leather(rng: np.random.Generator, lit: bool) -> Material:
    p, ink = Paint(), inks(rng, 4)
    grain = p.ramp(p.texture("Noise", 25.0, Detail=4.0).outputs[0], 0.3, 0.7)
    upper = p.mix(p.math("MULTIPLY", grain, 0.25), ink[0], "#201812")
    stripe = p.stripes(p.math("ADD", p.x, p.math("MULTIPLY", p.z, 0.6)), 0.11, 0.35)
    zone = p.math("MULTIPLY", p.between(p.x, -0.18, 0.16), p.between(p.z, -0.02, 0.3))
    upper = p.mix(p.math("MULTIPLY", stripe, zone), upper, ink[1])
    sole = p.mix(p.stripes(p.x, 0.03, 0.4), "#e9e4da", "#c9bfae")
    return p.finish(p.mix(p.between(p.z, -1.0, -0.07), upper, sole), lit=lit)


def shoe(rng: np.random.Generator, lit: bool) -> Solid:
    """A low shoe: a sole that swings, an upper that closes over the toes, an opening for the foot."""
    skin = _leather(rng, lit)
    stations, sides = 72, 96
    s = np.linspace(-1, 1, stations)
    a = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    rows = []
    for x in np.sin(0.5 * math.pi * s):
        end = max(1 - abs(x) ** 5, 0.0) ** 0.4
        width = (0.155 + 0.035 * math.cos(2.6 * (x - 0.55))) * end + 0.012
        height = 0.075 + 0.24 / (1 + math.exp(7 * (x - 0.12)))
        middle, base = 0.03 * math.sin(2.2 * x), -0.16 + 0.03 * max(x, 0) ** 2
        c, n = np.cos(a), np.sin(a)
        across = np.sign(c) * np.abs(c) ** 0.75 * width * np.where(n > 0, 1 - 0.35 * n**2, 1)
        up = np.where(n > 0, n * height * end, 0.075 * np.sign(n) * np.abs(n) ** 0.4)
        rows.append(np.stack([np.full(sides, 0.5 * x), middle + across, base + 0.075 + up], 1))
    count = stations * sides
    faces = [
        [i * sides + k, i * sides + (k + 1) % sides, (i + 1) * sides + (k + 1) % sides, (i + 1) * sides + k]
        for i in range(stations - 1)
        for k in range(sides)
    ]
    rows.append(np.array([rows[0].mean(0), rows[-1].mean(0)]))
    for start, tip in ((0, count), (count - sides, count + 1)):
        faces += [[start + k, start + (k + 1) % sides, tip] for k in range(sides)]
    body = from_arrays(np.concatenate(rows), faces, skin)
    inside = ball(0.1, coat(rng, lit, "clouds"), (-0.24, -0.01, 0.16), (1.9, 0.95, 1.5))
    return without(body, [inside])


def _labelled(rng: np.random.Generator, lit: bool) -> Material:
    p, ink = Paint(), inks(rng, 3)
    glass = p.palette(p.ramp(p.z, -0.5, 0.5), [ink[0], ink[1]])
    label = p.between(p.z, -0.33, 0.07)
    return p.finish(p.mix(label, glass, p.picture(printed(rng), 2.2)), lit=lit)


def bottle(rng: np.random.Generator, lit: bool) -> Solid:
    """A bottle with a printed label all around, and a cap with ribs."""
    skin, cap = _labelled(rng, lit), coat(rng, lit, "clouds")
    wide = rng.uniform(0.16, 0.2)
    shoulder = [(wide, 0.1), (0.8 * wide, 0.2), (0.07, 0.3), (0.055, 0.42)]
    profile = [
        (0.0, -0.5),
        (wide - 0.02, -0.5),
        (wide - 0.005, -0.49),
        (wide, -0.47),
        *_curve(shoulder, 40),
        (0.0, 0.42),
    ]
    ribs = [
        box((0.008, 0.008, 0.09), cap, (0.066 * math.cos(t), 0.066 * math.sin(t), 0.435), (0, 0, math.degrees(t)))
        for t in np.linspace(0, 2 * math.pi, 24, endpoint=False)
    ]
    return union([lathe(profile, skin), rod(0.066, 0.1, cap, (0, 0, 0.435), rounding=0.008), *ribs])


def _wood(rng: np.random.Generator, lit: bool) -> Material:
    p = Paint()
    tone = rng.uniform(0.8, 1.0)
    rings = p.texture("Wave", 2.2, Distortion=5.0, Detail=3.0).outputs["Fac"]
    ink = [
        f"#{round(tone * r):02x}{round(tone * g):02x}{round(tone * b):02x}"
        for r, g, b in ((150, 96, 52), (206, 150, 92))
    ]
    return p.finish(p.palette(rings, ink), lit=lit)


def chair(rng: np.random.Generator, lit: bool) -> Solid:
    """A wooden chair with a cushion."""
    wood, cloth = _wood(rng, lit), coat(rng, lit, "cells")
    parts = [box((0.46, 0.44, 0.045), wood, (0, 0, 0), rounding=0.008)]
    parts += [
        box((0.05, 0.05, 0.48), wood, (x, y, -0.23), rounding=0.006) for x in (0.19, -0.19) for y in (0.18, -0.18)
    ]
    parts += [box((0.045, 0.045, 0.56), wood, (-0.2, y, 0.27), (0, -4, 0), rounding=0.006) for y in (0.18, -0.18)]
    parts += [box((0.03, 0.4, 0.09), wood, (-0.225, 0, 0.5), (0, -4, 0), rounding=0.006)]
    parts += [box((0.022, 0.4, 0.045), wood, (-0.208 - 0.001 * k, 0, z), (0, -4, 0)) for k, z in enumerate((0.2, 0.33))]
    parts += [rod(0.016, 0.38, wood, (x, 0, -0.3), (90, 0, 0)) for x in (0.19, -0.19)]
    parts.append(box((0.4, 0.38, 0.06), cloth, (0.015, 0, 0.045), rounding=0.027))
    return union(parts)


SHAPES: dict[str, Shape] = {
    **shapes.SHAPES,
    **{shape.__name__: shape for shape in (vase, dog, shoe, bottle, chair)},
}
