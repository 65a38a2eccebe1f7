"""The example: a tin robot. A raised hand that is a ring, an arm on its hip, recessed face, raised letters,
vents, a winding key: two holes through it, concave places, round and sharp edges, printed patterns."""

from __future__ import annotations

import math

import numpy as np
from bpy.types import Material
from paint import Paint
from solids import Solid, ball, box, cone, letters, ring, rod, tube, union, without

TEAL, CREAM, ORANGE, RED, YELLOW, NAVY = "#12a19a", "#fff1d0", "#f58220", "#e23b3b", "#ffc62e", "#1d2f5f"
SKY = 0.42


def _plain(colour: str, lit: bool) -> Material:
    return Paint().finish(colour, lit=lit, sky=SKY)


def _body_paint(lit: bool) -> Material:
    """Teal, lighter upwards, with a hazard belt and a line of rivets all around."""
    p = Paint()
    colour = p.mix(p.ramp(p.z, 0.1, 0.75), "#0b7d83", "#23bdae")
    belt = p.between(p.z, 0.235, 0.305)
    around = p.math("MULTIPLY", p.math("ARCTAN2", p.y, p.x), 26 / (2 * math.pi))
    slant = p.math("ADD", around, p.math("MULTIPLY", p.z, 11.0))
    colour = p.mix(belt, colour, p.mix(p.stripes(slant, 1.0), YELLOW, NAVY))
    rivets = p.math("MULTIPLY", p.dots(p.math("ADD", p.x, p.y), p.z, 0.075, 0.013), p.between(p.z, 0.6, 0.675))
    return p.finish(p.mix(rivets, colour, CREAM), lit=lit, sky=SKY)


def _head_paint(lit: bool) -> Material:
    """Orange, with a ring of dots at the back and a stripe over the crown."""
    p = Paint()
    colour = p.mix(p.ramp(p.z, 0.8, 1.1), "#e9641a", "#ff9e3d")
    colour = p.mix(p.between(p.y, -0.035, 0.035), colour, CREAM)
    back = p.math("LESS_THAN", p.nx, -0.6)
    colour = p.mix(p.math("MULTIPLY", back, p.dots(p.y, p.z, 0.08, 0.024)), colour, RED)
    return p.finish(colour, lit=lit, sky=SKY)


def _limb_paint(lit: bool) -> Material:
    """Ringed sleeves."""
    p = Paint()
    return p.finish(p.mix(p.stripes(p.z, 0.07), "#3c56a6", "#8fb4ff"), lit=lit, sky=SKY)


def _foot_paint(lit: bool) -> Material:
    """Red shoes with chequered soles."""
    p = Paint()
    sole = p.math("LESS_THAN", p.nz, -0.8)
    sides = p.mix(p.between(p.z, -0.1, -0.075), RED, CREAM)
    return p.finish(p.mix(sole, sides, p.mix(p.checks(p.x, p.y, 0.045), NAVY, YELLOW)), lit=lit, sky=SKY)


def _arc(centre: tuple[float, float], radius: float, start: float, stop: float, x: float = 0.0) -> np.ndarray:
    """Points of an arc in the y-z plane, angles in degrees from +y to +z."""
    t = np.radians(np.linspace(start, stop, 72))
    return np.stack([np.full_like(t, x), centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)], 1)


def robot(lit: bool) -> Solid:
    """The whole robot as one surface, front toward +x, its height about 1.5 units."""
    body, head, limb, foot = _body_paint(lit), _head_paint(lit), _limb_paint(lit), _foot_paint(lit)
    cream, red, yellow, navy, metal, white = (_plain(c, lit) for c in (CREAM, RED, YELLOW, NAVY, "#9fb2c4", "#fdfdf6"))
    trunk = box((0.44, 0.58, 0.56), body, (0, 0, 0.44), rounding=0.07)
    slots = [box((0.2, 0.06, 0.022), navy, (0, side * 0.29, z)) for side in (1, -1) for z in (0.40, 0.45, 0.50)]
    trunk = without(trunk, slots)
    skull = box((0.42, 0.50, 0.34), head, (0, 0, 0.93), rounding=0.06)
    skull = without(skull, [box((0.1, 0.36, 0.19), navy, (0.22, 0, 0.945), rounding=0.03)])
    parts = [
        trunk,
        rod(0.10, 0.2, metal, (0, 0, 0.74)),
        ring(0.105, 0.022, yellow, (0, 0, 0.745)),
        skull,
        # Chest: a plate with the name, two knobs and a dial.
        box((0.06, 0.46, 0.24), cream, (0.215, 0, 0.49), rounding=0.02),
        letters("RECON3D", 0.40, 0.04, red, (0.248, 0, 0.555), (90, 0, 90)),
        rod(0.042, 0.08, red, (0.24, -0.14, 0.445), (0, 90, 0), rounding=0.012),
        rod(0.042, 0.08, yellow, (0.24, -0.02, 0.445), (0, 90, 0), rounding=0.012),
        rod(0.055, 0.07, navy, (0.23, 0.13, 0.445), (0, 90, 0), rounding=0.01),
        box((0.02, 0.016, 0.05), yellow, (0.267, 0.136, 0.455), (20, 0, 0)),
        # Face.
        rod(0.062, 0.1, white, (0.2, 0.085, 0.96), (0, 90, 0), rounding=0.02),
        rod(0.062, 0.1, white, (0.2, -0.085, 0.96), (0, 90, 0), rounding=0.02),
        ball(0.032, navy, (0.248, 0.078, 0.955)),
        ball(0.032, navy, (0.248, -0.078, 0.955)),
        box((0.05, 0.2, 0.022), red, (0.19, 0, 0.875), rounding=0.008),
        # Ears, aerial.
        rod(0.07, 0.62, red, (0, 0, 0.94), (90, 0, 0), rounding=0.015),
        rod(0.035, 0.70, yellow, (0, 0, 0.94), (90, 0, 0), rounding=0.01),
        rod(0.016, 0.2, metal, (-0.05, 0.12, 1.16)),
        ball(0.05, red, (-0.05, 0.12, 1.28)),
        # The left arm rests on the hip: a handle. The right one is raised and its hand is a ring.
        tube(_arc((0.27, 0.45), 0.17, 105, -105), 0.048, limb),
        tube(_arc((-0.27, 0.76), 0.22, 270, 170), 0.048, limb),
        ball(0.062, yellow, (0, -0.487, 0.80)),
        ring(0.085, 0.034, red, (0, -0.497, 0.935), (0, 90, 0)),
        # Key on the back.
        rod(0.026, 0.2, metal, (-0.28, 0, 0.56), (0, 90, 0)),
        rod(0.07, 0.03, yellow, (-0.38, 0.065, 0.56), (90, 0, 0), rounding=0.008),
        rod(0.07, 0.03, yellow, (-0.38, -0.065, 0.56), (90, 0, 0), rounding=0.008),
        box((0.05, 0.13, 0.03), yellow, (-0.36, 0, 0.56), rounding=0.008),
        letters("No 3", 0.26, 0.04, yellow, (-0.222, 0, 0.39), (90, 0, -90)),
    ]
    for side in (1, -1):
        parts += [
            rod(0.075, 0.22, limb, (0, side * 0.14, 0.08)),
            box((0.36, 0.2, 0.14), foot, (0.05, side * 0.145, -0.06), rounding=0.05),
            cone(0.095, 0.075, 0.05, metal, (0, side * 0.14, 0.02)),
        ]
    return union(parts)
