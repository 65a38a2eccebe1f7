"""Similarities: turn, scale and move; what lies between a generated mesh's own frame and the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d_runner.types import F64


@dataclass(frozen=True)
class Similarity:
    """world = scale * rotation @ point + translation."""

    scale: float
    rotation: F64
    """(3, 3), proper: a similarity never mirrors."""
    translation: F64
    """(3,)."""

    def apply(self, points: F64) -> F64:
        """(N, 3) points of the own frame in the world."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)

    def undo(self, points: F64) -> F64:
        """(N, 3) world points in the own frame."""
        return np.asarray((points - self.translation) @ self.rotation / self.scale)

    def nudge(self, step: F64, centre: F64) -> Similarity:
        """Follow by the small similarity `step` (7,): turn vector, motion, log of the scale, about `centre`."""
        turn, growth = rotation_of(step[:3]), float(np.exp(step[6]))
        moved = centre + growth * turn @ (self.translation - centre) + step[3:6]
        # Products of many small turns drift off the rotations.
        u, _, vt = np.linalg.svd(turn @ self.rotation)
        return Similarity(self.scale * growth, np.asarray(u @ vt), np.asarray(moved))

    def angle_to(self, other: Similarity) -> float:
        """Degrees between the two rotations."""
        cosine = (float(np.trace(self.rotation.T @ other.rotation)) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def rotation_of(vector: F64) -> F64:
    """(3, 3) turn by |vector| radians about `vector` (3,) (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k)


def axis_turns() -> F64:
    """(24, 3, 3) the rotations that map the axes onto one another."""
    found = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        for signs in np.ndindex(2, 2, 2):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = [1 - 2 * s for s in signs]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def spread_rotations(count: int) -> F64:
    """(count, 3, 3) rotations spread evenly over all of them: a spiral on the sphere of unit quaternions.

    The two angles advance by the roots of x^2 = 2 and x^4 = x + 4, which keep the turns of both circles apart
    (super-Fibonacci sampling).
    """
    k = np.arange(count) + 0.5
    first = 2 * np.pi * k / np.sqrt(2.0)
    second = 2 * np.pi * k / 1.533751168755204288118041
    share = k / count
    a, b = np.sqrt(share), np.sqrt(1 - share)
    return from_quaternions(np.stack([a * np.sin(first), a * np.cos(first), b * np.sin(second), b * np.cos(second)], 1))


def from_quaternions(q: F64) -> F64:
    """(N, 3, 3) rotations of unit quaternions (N, 4), the real part first."""
    w, x, y, z = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.asarray(np.array(rows).transpose(2, 0, 1))
