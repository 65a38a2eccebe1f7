"""Can one view's picture and depth render be of one object at all? Cheap checks before calibration."""

from __future__ import annotations

import numpy as np
from recon3d_contract.errors import Code, Recon3dError
from scipy import ndimage

from recon3d_runner.scene.images import RawView
from recon3d_runner.scene.masks import Mask, background_code, unlike

MIN_PIXELS = 64
"""A view with fewer object pixels than this shows no object."""
LEAST_BACKGROUND = 0.3
"""Share of a depth render's border that must be background."""
STRAY = 0.05
"""Share of coloured pixels outside the depth's object above which the two show different things."""
UNEVEN = 0.2
"""Share of a picture's border that differs from its background above which there is no one background."""


def check_view(view: RawView, mask: Mask) -> float | None:
    """Raise INCONSISTENT_VIEWS for a view without an object or whose depth shows something else than its colours.

    Returns the share of the depth render's object that does not look like the background; None without one.
    """
    if view.gray is not None:
        border = np.concatenate([view.gray[0], view.gray[-1], view.gray[:, 0], view.gray[:, -1]])
        share = float((border == background_code(view.gray)).mean())
        if share < LEAST_BACKGROUND:
            raise Recon3dError(
                Code.INCONSISTENT_VIEWS,
                f"The depth render '{view.name}' shows no object in front of one background: its border is not plain.",
                {"worst_view": view.name, "background_share": round(share, 3), "limit": LEAST_BACKGROUND},
            )
    if mask.inside_depth is not None and int(mask.inside_depth.sum()) < MIN_PIXELS:
        raise Recon3dError(
            Code.INCONSISTENT_VIEWS,
            f"The depth render '{view.name}' shows no object in front of its background.",
            {"worst_view": view.name, "depth_pixels": int(mask.inside_depth.sum())},
        )
    if int((mask.alpha >= 0.5).sum()) < MIN_PIXELS:
        raise Recon3dError(
            Code.INCONSISTENT_VIEWS,
            f"The view '{view.name}' shows no object in front of its background.",
            {"worst_view": view.name, "object_pixels": int((mask.alpha >= 0.5).sum())},
        )
    if mask.inside_depth is None:
        return None
    size = len(mask.inside_depth)
    at = ((np.arange(size) + 0.5) * len(view.rgb) / size).astype(np.int64)
    picture = view.rgb[at][:, at]
    differs = unlike(picture, mask.background, 12 / 255) if view.alpha is None else view.alpha[at][:, at] > 0.5
    coloured = ndimage.binary_opening(differs)
    near = ndimage.binary_dilation(mask.inside_depth, iterations=4)
    stray = float((coloured & ~near).sum()) / max(1, int(coloured.sum()))
    if stray > STRAY:
        border = np.concatenate([differs[0], differs[-1], differs[:, 0], differs[:, -1]])
        uneven = view.alpha is None and float(border.mean()) > UNEVEN
        raise Recon3dError(
            Code.INCONSISTENT_VIEWS,
            f"The background of the view '{view.name}' is not one colour; make it plain or transparent."
            if uneven
            else f"The colours and the depth render of the view '{view.name}' show different objects.",
            {"worst_view": view.name, "stray_share": round(stray, 3), "limit": STRAY},
        )
    return float(unlike(picture, mask.background, 3 / 255)[mask.inside_depth].mean())


def check_colours(shares: dict[str, float | None]) -> None:
    """Raise INCONSISTENT_VIEWS for a picture that is blank where its depth and the other pictures show the object.

    shares: what `check_view` says of every view.
    """
    known = {name: share for name, share in shares.items() if share is not None}
    if len(known) < len(shares):
        return
    blank = min(known, key=lambda name: known[name])
    if known[blank] < 0.01 and float(np.median(list(known.values()))) > 0.2:
        raise Recon3dError(
            Code.INCONSISTENT_VIEWS,
            f"The picture '{blank}' is blank where its depth render shows the object.",
            {"worst_view": blank, "coloured_share": {name: round(share, 3) for name, share in known.items()}},
        )
