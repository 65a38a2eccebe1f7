"""Where in a picture something is, so that work can keep to that part."""

from __future__ import annotations

from recon3d_runner.types import Bool


def around(mask: Bool, margin: int, block: int = 1) -> tuple[slice, slice]:
    """Rows and columns of the box around `mask`, wider by `margin`, within the picture; in whole blocks of `block`.

    Without anything in the mask, the first corner.
    """
    found = []
    for axis in (1, 0):
        line = mask.any(axis=axis).nonzero()[0]
        low, high = (int(line[0]), int(line[-1]) + 1) if len(line) else (0, 0)
        low, high = (low - margin) // block * block, -((-high - margin) // block) * block
        found.append(slice(max(low, 0), min(high, mask.shape[1 - axis])))
    return found[0], found[1]
