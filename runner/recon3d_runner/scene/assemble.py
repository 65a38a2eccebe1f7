"""From a checked input folder to six calibrated views in world units."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from recon3d_contract.conventions import POSITION, VIEWS
from recon3d_contract.spec import JobSpec
from recon3d_contract.verdict import UNSURE

from recon3d_runner.run import Run
from recon3d_runner.scene import plausible
from recon3d_runner.scene.agreement import Sight, contours, frames, prepare
from recon3d_runner.scene.angle import Angle
from recon3d_runner.scene.blended import sharp_edges
from recon3d_runner.scene.calibrate import PRIOR_FOV, UNFIXED, Calibrator
from recon3d_runner.scene.codes import level_step, smooth_codes
from recon3d_runner.scene.frontier import Outlined, Outlines
from recon3d_runner.scene.images import RawView, read_views, unit
from recon3d_runner.scene.known import Known, Solution
from recon3d_runner.scene.masks import Mask, background_code, find_mask
from recon3d_runner.scene.orient import Arrangement, Turn
from recon3d_runner.scene.prints import depth_range
from recon3d_runner.scene.solve import Fit, Hypothesis
from recon3d_runner.types import F32, Calibration, Camera, View

T = TypeVar("T")

UNCONFIRMED = 0.4
"""Confidence of an angle of view that the outlines alone give."""
METRIC_OFFSET = 0.02
"""Largest offset a, in camera distances, at which 16-bit depth is taken as metric (z proportional to the code)."""


@dataclass(frozen=True)
class Scene:
    """What an engine works on."""

    views: list[View]
    calibration: Calibration
    backgrounds: dict[str, F32]
    """(3,) background colour of every view's file."""


def _present(value: T | None) -> T:
    """Narrow what every view has once one of them has depth."""
    if value is None:
        raise ValueError("a view lacks its depth")
    return value


def _silhouettes_only(raw: list[RawView], masks: list[Mask], known: Known, run: Run) -> Solution:
    """What can be known without depth."""
    run.warn(
        "no_depth", "There are no depth renders: the silhouettes alone carry the geometry, and hollows stay filled."
    )
    angle, confidence, prior = _angle_without_depth(raw, masks, known)
    fit = Fit(Hypothesis(angle.focal, 0.0, 1.0), 0.0, {view.name: 0.0 for view in raw}, median_px=0.0)
    return Solution(fit, known.arrangement or Arrangement({}), confidence, prior)


def _angle_without_depth(raw: list[RawView], masks: list[Mask], known: Known) -> tuple[Angle, float, str | None]:
    """The angle given, else the outlines', which nothing confirms, else the prior; how sure; why no surer."""
    if known.fov_deg is not None:
        return Angle.of_fov(known.fov_deg), 1.0, None
    if known.arrangement is None:
        seen = _by_outlines(raw, masks)
        if seen.sigma < UNFIXED:
            text = f"the angle of view is from silhouettes alone ({seen.fov_deg:.1f} deg), and no depth confirms it"
            return seen, UNCONFIRMED, text
    text = f"silhouettes alone do not fix the angle of view; {PRIOR_FOV:g} deg assumed"
    return Angle.of_fov(PRIOR_FOV), 0.3, text


def _by_outlines(raw: list[RawView], masks: list[Mask]) -> Angle:
    """What the outlines of views as they are, neither turned nor exchanged, say of the angle of view."""
    size = len(masks[0].alpha)
    hulls = (contours(mask.outline, size, size // 2)[1] for mask in masks)
    return Outlines([Outlined(view.name, hull, 2 / size) for view, hull in zip(raw, hulls, strict=True)]).solve()


def _encoding(known: Known, solution: Solution, sixteen_bit: bool, background: int) -> str:
    if known.encoding is not None:
        return known.encoding
    h = solution.fit.hypothesis
    if h.b < 0:
        return "white-near"
    if sixteen_bit and background == 0 and abs(h.a) < METRIC_OFFSET:
        return "metric"
    return "black-near"


def build_scene(folder: Path, spec: JobSpec, run: Run) -> Scene:
    """Run the stages load, masks and calibrate.

    Raises INCONSISTENT_VIEWS where the twelve images cannot show one object from six axis directions.
    """
    with run.stage("load"):
        raw = sharp_edges(read_views(folder))
    with run.stage("masks"):
        with ThreadPoolExecutor() as pool:
            masks = list(pool.map(find_mask, raw))
            shares = list(pool.map(plausible.check_view, raw, masks))
        plausible.check_colours({view.name: share for view, share in zip(raw, shares, strict=True)})
    with run.stage("calibrate"):
        known = Known.of(spec)
        if known.distance is None and (known.near is not None or known.far is not None):
            run.warn("range_ignored", "depth.near and depth.far need cameras.distance beside them; they were not used.")
        return _calibrate(raw, masks, known, run)


def _calibrate(raw: list[RawView], masks: list[Mask], known: Known, run: Run) -> Scene:
    sights: list[Sight | None] = [None] * len(raw)
    step = 0.0
    with_depth = all(view.gray is not None for view in raw)
    if with_depth:
        step = level_step([_present(view.gray) for view in raw])

        def one(view: RawView, mask: Mask) -> Sight:
            code = smooth_codes(_present(view.gray), _present(mask.inside_depth), step)
            return prepare(view.name, code, _present(mask.inside_depth), mask, view.rgb, step)

        with ThreadPoolExecutor() as pool:
            found = list(pool.map(one, raw, masks))
        sights = list(found)
        run.tick(0.2)
        calibrator = Calibrator(found, known, run)
        solution = calibrator.solve()
        encoding = _encoding(known, solution, raw[0].gray_max > 255, background_code(_present(raw[0].gray)))
        if encoding == "metric" and calibrator.free[1]:
            solution = calibrator.without_offset(solution)
    else:
        solution, encoding = _silhouettes_only(raw, masks, known, run), None
    return _assemble(raw, masks, sights, step, known, solution, encoding, run)


def _assemble(
    raw: list[RawView],
    masks: list[Mask],
    sights: list[Sight | None],
    step: float,
    known: Known,
    solution: Solution,
    encoding: str | None,
    run: Run,
) -> Scene:
    h = solution.fit.hypothesis
    distance = known.unit_distance(solution.fit.hypothesis.b, encoding)
    rotation = frames()
    by_name = {view.name: k for k, view in enumerate(raw)}
    views: list[View] = []
    backgrounds: dict[str, F32] = {}
    described: dict[str, dict[str, object]] = {}
    lowest, highest = np.inf, -np.inf
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda view: unit(view.rgb), raw))
    for name in VIEWS:
        source = solution.arrangement.source(name)
        turn = solution.arrangement.turns.get(name, Turn())
        k = by_name[source]
        camera = Camera(rotation[name], -rotation[name] @ (np.array(POSITION[name]) * distance), h.fov_deg)
        depth = level = None
        sight = sights[k]
        if sight is not None:
            inside = _present(masks[k].inside_depth)
            exact, gray = sight.code + np.array(h.offsets, np.float32)[sight.plateau], _present(raw[k].gray)
            depth, level = (
                turn.image(np.where(inside, h.depths(code) * distance, np.nan).astype(np.float32))
                for code in (exact, gray)
            )
            if np.abs(sight.code - gray)[inside].max() > 0.51 * step:  # There is more in the way than rounding.
                level = None
            lowest, highest = min(lowest, float(np.nanmin(depth))), max(highest, float(np.nanmax(depth)))
        views.append(
            View(
                name,
                camera,
                turn.image(pictures[k]),
                turn.image(masks[k].alpha),
                depth,
                0.0 if depth is None else abs(h.b) * step * distance,
                level,
            )
        )
        backgrounds[name] = masks[k].background
        described[name] = {"roll_deg": 90 * turn.roll, "mirror": turn.mirror, "residual_px": solution.fit.by_view[name]}
        if turn != Turn() and known.arrangement is None:
            run.warn(
                "view_repaired",
                f"The view '{name}' was turned by {90 * turn.roll} degrees"
                f"{' and mirrored' if turn.mirror else ''} to agree with the others.",
            )
    if solution.arrangement.swapped and known.arrangement is None:
        run.warn("views_swapped", "The views 'left' and 'right' had changed places.")
    if solution.prior is not None:
        run.warn("calibration_prior", f"Calibration: {solution.prior}. Give cameras.fov_deg if you know it.")
    elif solution.confidence < UNSURE:
        run.warn(
            "calibration_unsure",
            f"Calibration: an angle of view of {h.fov_deg:.1f} deg fits best, and others fit nearly as well. "
            "Give cameras.fov_deg if you know it.",
        )
    if solution.unproven:
        listed = ", ".join(f"'{view}'" for view in solution.unproven)
        run.warn(
            "orientation_unproven",
            f"Neither shape nor colours tell whether {listed} "
            f"{'are' if len(solution.unproven) > 1 else 'is'} turned or mirrored: taken as the files are.",
        )
    if solution.foreign is not None:
        run.warn(
            "colours_disagree",
            f"The colours of the view '{solution.foreign}' differ from the other views' on the same surface.",
        )
    near, far = _range(h, encoding, raw[0].gray_max, distance, lowest, highest)
    change = None if known.range_known or encoding == "metric" else depth_range(views)
    if change is not None and near is not None and far is not None:
        views, near, far = [change.view(view) for view in views], change.at(near), change.at(far)
    calibration = Calibration(
        fov_deg=h.fov_deg,
        distance=distance,
        confidence=round(solution.confidence, 3),
        prior=solution.prior,
        depth_encoding=encoding,
        depth_is_ray=h.ray,
        depth_near=near,
        depth_far=far,
        views=described,
        residual=100 * solution.fit.median_px * 2 / (1024 * h.focal),
    )
    return Scene(views, calibration, backgrounds)


def _range(
    h: Hypothesis, encoding: str | None, top: int, distance: float, lowest: float, highest: float
) -> tuple[float | None, float | None]:
    """Depth at the two ends of the codes; for metric depth the object's own range."""
    if encoding is None:
        return None, None
    if encoding == "metric":
        return lowest, highest
    ends = sorted((h.a * distance, (h.a + h.b * top) * distance))
    return ends[0], ends[1]
