"""Every back end answers what the float64 oracle answers: faces, depth, weights."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner.raster import CHOICE, LIBRARIES, Rasteriser, gpu_library, open_rasteriser, oracle

GRID = 1 / 16
"""Pixels: how far graphics hardware may move an outline."""


def off_outlines(drawing: Any, margin: float) -> np.ndarray:
    """(n, n) pixels whose centres are farther than `margin` from every edge of every face."""
    centre = np.arange(drawing.size) + 0.5
    place = np.stack(np.meshgrid(centre, centre), axis=-1)
    clear = np.ones((drawing.size, drawing.size), bool)
    for corners in drawing.faces:
        for k in range(3):
            a, b = drawing.points[corners[k], :2], drawing.points[corners[(k + 1) % 3], :2]
            along = np.clip((place - a) @ (b - a) / max((b - a) @ (b - a), 1e-30), 0, 1)
            clear &= np.linalg.norm(place - a - along[..., None] * (b - a), axis=-1) > margin
    return clear


def test_images_equal_the_oracles(drawing: Any, rasteriser: Rasteriser) -> None:
    found = rasteriser.rasterize(drawing.points, drawing.faces, drawing.size)
    truth = oracle.trace(drawing.points, drawing.faces, drawing.size)
    exact = rasteriser.name in ("cpu", "tensors")
    judged = off_outlines(drawing, 1e-9 if exact else 1.5 * GRID)
    # Two faces at one depth: either may win.
    same_depth = np.isclose(found.depth, truth.depth, rtol=1e-6 if exact else 1e-5, equal_nan=True)
    assert same_depth[judged].all()
    agreed = judged & (found.face == truth.face)
    assert (judged & ~agreed).mean() < (1e-12 if exact else 2e-3)
    seen = agreed & (truth.face >= 0)
    np.testing.assert_allclose(found.depth[seen], truth.depth[seen], rtol=1e-6)
    np.testing.assert_allclose(found.bary[seen], truth.bary[seen], rtol=0, atol=1e-5)


def test_background_and_types(drawing: Any, rasteriser: Rasteriser) -> None:
    found = rasteriser.rasterize(drawing.points, drawing.faces, drawing.size)
    assert [a.dtype for a in found] == [np.int32, np.float32, np.float32]
    n = drawing.size
    assert [a.shape for a in found] == [(n, n), (n, n), (n, n, 2)]
    empty = found.face < 0
    assert (found.face[empty] == -1).all()
    assert (np.isnan(found.depth) == empty).all()
    assert (found.bary[empty] == 0).all()
    inside = found.bary[~empty]
    assert (inside >= 0).all()
    assert (inside.sum(1) <= 1 + 1e-6).all()


def test_row_0_is_on_top_and_centres_lie_at_one_half(rasteriser: Rasteriser) -> None:
    # The upper left corner, up to the diagonal x + y = 3.2: centres at .5, 1.5, 2.5 lie inside while x + y < 3.2.
    points = np.array([(0.0, 0.0, 1.0), (3.2, 0.0, 1.0), (0.0, 3.2, 1.0)])
    found = rasteriser.rasterize(points, np.array([(0, 1, 2)], np.int32), 4)
    assert (found.face >= 0).tolist() == [
        [True, True, True, False],
        [True, True, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ]
    np.testing.assert_allclose(found.bary[0, 2], (2.5 / 3.2, 0.5 / 3.2), atol=1e-6)
    np.testing.assert_allclose(found.bary[1, 0], (0.5 / 3.2, 1.5 / 3.2), atol=1e-6)


def test_weights_are_perspective_correct(rasteriser: Rasteriser) -> None:
    # Half way between depth 1 and depth 3 on the screen lies at depth 1 / mean(1, 1/3) = 1.5, a quarter of the way.
    points = np.array([(0.5, -20.0, 1.0), (8.5, -20.0, 3.0), (4.5, 60.0, 1.5)])
    found = rasteriser.rasterize(points, np.array([(0, 1, 2)], np.int32), 9)
    assert found.depth[0, 4] == pytest.approx(1.5, rel=1e-6)
    b1, b2 = found.bary[0, 4].astype(float)
    assert b1 / (1 - b2) == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("size", [31, 32, 33, 64, 100])
def test_bands_join_without_a_seam(rasteriser: Rasteriser, size: int) -> None:
    points = np.array(
        [(-1.0, -1.0, 1.0), (size + 1.0, -1.0, 2.0), (size + 1.0, size + 1.0, 3.0), (-1.0, size + 1.0, 2.0)]
    )
    points += 0.013 * np.arange(12).reshape(4, 3)
    found = rasteriser.rasterize(points, np.array([(0, 1, 2), (0, 2, 3)], np.int32), size)
    assert (found.face >= 0).all()


def test_the_same_bytes_again(drawing: Any, rasteriser: Rasteriser) -> None:
    first, second = (rasteriser.rasterize(drawing.points, drawing.faces, drawing.size) for _ in range(2))
    assert [a.tobytes() for a in first] == [a.tobytes() for a in second]


def test_points_that_are_no_numbers_draw_nothing() -> None:
    points = np.array([(np.nan, 3.0, 1.0), (20.0, np.inf, 1.0), (9.0, 20.0, 1.0), (30.0, 5.0, np.nan)])
    found = open_rasteriser("cpu").rasterize(points, np.array([(0, 1, 2), (1, 2, 3), (0, 2, 3)], np.int32), 32)
    assert (found.face == -1).all()


@pytest.mark.parametrize("name", [None, *LIBRARIES])
def test_without_its_library_the_engine_is_unavailable(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for library in ("drtk", "drtk.rasterize", "nvdiffrast", "nvdiffrast.torch"):
        monkeypatch.setitem(sys.modules, library, None)
    if name:
        monkeypatch.setenv(CHOICE, name)
    with pytest.raises(Recon3dError) as caught:
        open_rasteriser("cuda")
    assert caught.value.code is Code.ENGINE_UNAVAILABLE
    assert (name or LIBRARIES[-1]) in caught.value.message


def test_the_freer_library_draws_unless_the_other_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in LIBRARIES:
        module = ModuleType(library)
        module.__spec__ = ModuleSpec(library, None)
        monkeypatch.setitem(sys.modules, library, module)
    assert gpu_library({}) == "drtk"
    assert gpu_library({CHOICE: "nvdiffrast"}) == "nvdiffrast"
    monkeypatch.setitem(sys.modules, "drtk", None)
    assert gpu_library({}) == "nvdiffrast"
    assert gpu_library({CHOICE: "drtk"}) is None
    with pytest.raises(Recon3dError, match="unknown rasteriser"):
        gpu_library({CHOICE: "embree"})


def test_the_cpu_needs_no_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("there is no torch here that could be loaded")
    code = "import sys, recon3d_runner.raster as r; r.open_rasteriser('cpu'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "False\n"
