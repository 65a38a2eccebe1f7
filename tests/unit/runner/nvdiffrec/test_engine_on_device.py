"""The torch passes, here on CPU tensors: NumPy's answers, the same bytes whatever the batches, and faults injected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from recon3d_contract.errors import Code
from recon3d_runner.engines.nvdiffrec import bake, fusion, geometry, texture, unwrap
from recon3d_runner.engines.nvdiffrec.gutters import gutters
from recon3d_runner.engines.nvdiffrec.on_device import fusion as carving
from recon3d_runner.engines.nvdiffrec.on_device import ready, sums
from recon3d_runner.engines.nvdiffrec.on_device import texture as tensors
from recon3d_runner.raster import Fragments, TensorRasteriser, open_rasteriser
from recon3d_runner.raster.cpu import project
from recon3d_runner.worker import classify


class HostTensors:
    """A device's rasteriser where there is none: the CPU's, its images as tensors."""

    name = "host tensors"
    device = torch.device("cpu")

    def rasterize(self, points: Any, faces: Any, size: int) -> Fragments:
        return open_rasteriser("cpu").rasterize(points, faces, size)

    def draw(self, points: Any, faces: Any, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        face, depth, bary = self.rasterize(points.numpy(), faces.numpy(), size)
        return torch.from_numpy(face), torch.from_numpy(depth), torch.from_numpy(bary)


HOST, DEVICE = open_rasteriser("cpu"), HostTensors()


def surface(pictures: Any, subdivisions: int = 4) -> tuple[Any, Any, Any, Any]:
    made = trimesh.creation.icosphere(subdivisions=subdivisions)
    rng = np.random.default_rng(3)
    vertices = np.array(made.vertices) * (1.01 + 0.005 * rng.standard_normal((len(made.vertices), 1)))
    return vertices, np.array(made.faces, np.int32), pictures.truth, fusion.prepare_all(pictures.truth)


def test_only_a_device_draws_tensors() -> None:
    assert isinstance(DEVICE, TensorRasteriser)
    assert not isinstance(HOST, TensorRasteriser)


def test_sums_of_integers_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    value = torch.from_numpy(rng.standard_normal((20_000, 2)))
    index = torch.from_numpy(rng.integers(0, 7, 20_000))
    found = []
    for order in (torch.arange(20_000), torch.from_numpy(rng.permutation(20_000))):
        total = torch.zeros((7, 2), dtype=torch.int64)
        sums.add_at(total, index[order], value[order])
        found.append(sums.floating(total))
    assert torch.equal(*found)
    exact = torch.zeros((7, 2), dtype=torch.float64).index_add_(0, index, value)
    np.testing.assert_allclose(found[0], exact, atol=1e-7)


@pytest.mark.parametrize(("name", "depth"), [("l_block", True), ("sheet", True), ("torus", False)])
def test_the_carved_field_is_numbas(
    taken: Any, run: Any, monkeypatch: pytest.MonkeyPatch, name: str, depth: bool
) -> None:
    monkeypatch.setattr(carving, "VOXELS", 5 * 40**2)  # slabs that do not divide the grid
    _, pictures = taken(name, depth=depth)
    views = pictures.truth
    prepared = fusion.prepare_all(views)
    low, high = fusion.bounds(views)
    step = float((high - low).max()) / 34
    origin = (low + high) / 2 - step * 39 / 2
    host = fusion.carve(views, prepared, origin, step, 40, run)
    device = carving.carve(views, prepared, origin, step, 40, run, DEVICE.device)
    assert device.dtype == host.dtype
    np.testing.assert_allclose(device, host, rtol=0, atol=1e-6 * step)


def test_getting_ready_runs_every_pass() -> None:
    ready.get_ready(DEVICE)


def test_faces_are_counted_as_on_the_host(taken: Any) -> None:
    vertices, faces, views, _ = surface(taken("blob")[1])
    points = project(vertices, views[0].camera, 200)
    ours, theirs = (unwrap._visible(points, faces, 200, rasteriser) for rasteriser in (HOST, DEVICE))
    assert ours.sum() > 1000
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    ("name", "depth", "held"), [("sphere", True, 0), ("sphere", False, 0), ("blob", True, 0), ("sphere", False, 1)]
)
def test_a_step_is_numpys(taken: Any, name: str, depth: bool, held: int) -> None:
    _, pictures = taken(name, depth=depth)
    vertices, faces, views, prepared = surface(pictures)
    normals = fusion_normals(vertices, faces)
    hold = held * np.clip(2 * vertices[:, 2], 0, 1)
    bent = np.clip(3 * vertices[:, 0], 0, 1) if name == "blob" else None
    found = []
    for rasteriser in (HOST, DEVICE):
        make = geometry._solvers(views, prepared, geometry.GeometryOptions(), rasteriser, hold)
        found.append(make(faces).solve(vertices, normals, 1.0, 3.0, bent))
    (ours, loss, used), (theirs, loss_there, used_there) = found
    assert used == used_there > 100
    assert loss == pytest.approx(loss_there, rel=1e-6)
    assert np.abs(ours).max() > 1e-3
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max())
    if held:
        assert np.abs(ours)[hold == 1].mean() < np.abs(ours)[hold == 0].mean()


def fusion_normals(vertices: Any, faces: Any) -> Any:
    from recon3d_runner.surface import vertex_normals

    return vertex_normals(vertices, faces)


def test_pass_one_ends_where_numpy_ends(taken: Any, run: Any) -> None:
    _, pictures = taken("sphere")
    found = [
        geometry.refine(*surface(pictures, 3), geometry.GeometryOptions(iterations=5), rasteriser, run)
        for rasteriser in (HOST, DEVICE, DEVICE)
    ]
    (ours, faces, losses), (theirs, faces_there, losses_there), (again, _, _) = found
    np.testing.assert_array_equal(faces, faces_there)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(losses_there, losses, rtol=1e-4)
    assert theirs.tobytes() == again.tobytes()


@pytest.fixture
def painted(taken: Any, run: Any) -> Any:
    """What pass 2 starts from: the drawn blob's projected texture."""
    thing, pictures = taken("blob")
    v, f, views = thing.vertices, thing.faces, pictures.truth
    atlas = unwrap.unwrap(v, f, views, 1024, None, HOST, run)
    texels = bake.texel_map(atlas)
    sights, samples = zip(*(texture.observe(v, f, atlas, view, 1, HOST) for view in views), strict=True)
    colour, weight = bake.gather(texels, v, f, sights)
    filled, _ = bake.fill(texels, f, len(v), colour, weight)

    def optimise(rasteriser: Any) -> tuple[Any, list[float]]:
        return texture.optimise(filled, list(samples), gutters(texels.face >= 0), 5, 0.3, rasteriser, run)

    return optimise


def test_pass_two_is_numpys_and_batches_do_not_matter(painted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, losses = painted(HOST)
    theirs, losses_there = painted(DEVICE)
    np.testing.assert_allclose(losses_there, losses, rtol=1e-3)
    np.testing.assert_allclose(theirs, ours, atol=2e-4)
    monkeypatch.setattr(tensors, "BATCH", 1 << 15)
    assert painted(DEVICE)[0].tobytes() == theirs.tobytes()


def out_of_memory(times: int, method: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the next `times` calls of a method of System run out of device memory; notes the batch of each call."""
    real, batches = getattr(tensors.System, method), []

    def failing(self: Any, *arguments: Any) -> Any:
        batches.append(self.batch)
        if len(batches) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return real(self, *arguments)

    monkeypatch.setattr(tensors.System, method, failing)
    return batches


@pytest.mark.parametrize("method", ["_footprint", "_residual"])
def test_want_of_memory_is_met_by_smaller_batches(painted: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = painted(DEVICE)[0]
    batches = out_of_memory(3, method, monkeypatch)
    found = painted(DEVICE)[0]
    assert batches[:4] == [tensors.BATCH, tensors.BATCH // 2, tensors.BATCH // 4, tensors.BATCH // 8]
    assert found.tobytes() == expected.tobytes()


def test_hopeless_want_of_memory_has_a_name(painted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory(10**9, "_residual", monkeypatch)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        painted(DEVICE)
    assert classify(caught.value).code is Code.GPU_OUT_OF_MEMORY


@pytest.mark.parametrize("failures", [2, 10**9])
def test_pass_one_goes_on_from_the_last_good_surface(
    taken: Any, run: Any, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, pictures = taken("sphere")
    real, calls = geometry._OnHost.solve, []

    def failing(self: Any, vertices: Any, *arguments: Any) -> Any:
        calls.append(vertices.copy())
        step, loss, used = real(self, vertices, *arguments)
        return (np.full_like(step, np.nan) if 2 <= len(calls) < 2 + failures else step), loss, used

    monkeypatch.setattr(geometry._OnHost, "solve", failing)
    options = geometry.GeometryOptions(iterations=8)
    if failures > geometry.PATIENCE:
        with pytest.raises(FloatingPointError) as caught:
            geometry.refine(*surface(pictures, 3), options, HOST, run)
        assert classify(caught.value).code is Code.OPTIMIZATION_DIVERGED
        return
    moved, _, _ = geometry.refine(*surface(pictures, 3), options, HOST, run)
    np.testing.assert_array_equal(calls[1], calls[3])
    assert np.abs(np.linalg.norm(moved, axis=1) - 1).mean() < 2e-3


@pytest.mark.parametrize("failures", [1, 10**9])
def test_pass_two_begins_again(painted: Any, failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = painted(DEVICE)
    real, calls = tensors.solve, []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments[3])
        if len(calls) <= failures:
            raise FloatingPointError("injected")
        return real(*arguments)

    monkeypatch.setattr(tensors, "solve", failing)
    if failures > geometry.PATIENCE:
        with pytest.raises(FloatingPointError) as caught:
            painted(DEVICE)
        assert classify(caught.value).code is Code.OPTIMIZATION_DIVERGED
        return
    found, _ = painted(DEVICE)
    assert calls == [0.3, 0.3 * geometry.CALMER]
    assert np.abs(found - expected).mean() < 0.02
