"""The adapter against the recorded interface of the official code: what fits passes, every drift is named."""

from __future__ import annotations

import ast
import os
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recorded_interface as recorded
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.spec import ReconviagenSettings
from recon3d_runner import licences
from recon3d_runner.engines import reconviagen
from recon3d_runner.engines.reconviagen import attention, interface, official, pins
from recon3d_runner.engines.reconviagen.digests import tree_sha256
from recon3d_runner.engines.reconviagen.generate import generate, pictures
from recon3d_runner.types import Camera, View

torch = pytest.importorskip("torch", reason="the adapter works on torch's tensors")

CHECKOUT = os.environ.get("RECON3D_TEST_RECONVIAGEN", "")


def refused(act: Any, *arguments: Any) -> Recon3dError:
    with pytest.raises(Recon3dError) as caught:
        act(*arguments)
    return caught.value


def test_the_recorded_interface_fits() -> None:
    interface.check_module(recorded.module())
    interface.check_pipeline(recorded.pipeline())


@pytest.mark.skipif(not CHECKOUT, reason="RECON3D_TEST_RECONVIAGEN names no checkout of the official code")
def test_the_pinned_checkout_is_what_was_recorded() -> None:
    root = Path(CHECKOUT)
    assert tree_sha256(root, pins.CODE_FOLDERS) == pins.CODE_SHA256
    tree = ast.parse((root / "trellis/pipelines/trellis_image_to_3d.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: dict[str, tuple[str, ...]] = {}
    for name in ("TrellisImageTo3DPipeline", "TrellisVGGTTo3DPipeline"):
        for node in classes[name].body:
            if isinstance(node, ast.FunctionDef) and node.name in interface.SIGNATURES:
                found[node.name] = tuple(argument.arg for argument in node.args.args)
    assert found == interface.SIGNATURES


@pytest.mark.parametrize("name", [*interface.SIGNATURES])
def test_other_parameters_are_drift(name: str) -> None:
    error = refused(interface.check_module, recorded.module(**{name: ("self", "image", "guess")}))
    assert error.code is Code.ENGINE_UNAVAILABLE
    assert name in error.message
    assert error.details["found"][-1] == "guess"


def test_a_missing_name_is_drift() -> None:
    module = recorded.module()
    del module.dreamsim
    assert "dreamsim is gone" in refused(interface.check_module, module).message


def test_a_fork_with_another_guidance_is_drift() -> None:
    pipeline = recorded.pipeline()
    pipeline.slat_sampler = object()
    assert "guidance" in refused(interface.check_pipeline, pipeline).message
    del pipeline.models["slat_vggt_cond"]
    assert refused(interface.check_pipeline, pipeline).details["missing"] == ["slat_vggt_cond"]


def test_weights_that_do_not_fit_are_drift(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed here")
    model = torch.nn.Linear(3, 2)
    path = tmp_path / "a.safetensors"
    safetensors.save_file({**model.state_dict(), "depth_head.x": torch.zeros(1)}, path)
    stored = interface.stored_shapes(path)
    assert stored == {"weight": (2, 3), "bias": (2,), "depth_head.x": (1,)}
    interface.check_state("line", model, stored, interface.DROPPED)


@pytest.mark.parametrize(
    ("stored", "odd"),
    [({"weight": (2, 3)}, "bias"), ({"weight": (3, 2), "bias": (2,)}, "weight"), ({"w": (1,)}, "bias")],
)
def test_tensors_are_compared_one_by_one(stored: dict[str, tuple[int, ...]], odd: str) -> None:
    error = refused(interface.check_state, "line", torch.nn.Linear(3, 2), stored)
    assert odd in error.details["tensors"]


def result(vertices: Any, faces: Any = ((0, 1, 2),), attributes: Any = None, voxels: int = 4, **mesh: Any) -> Any:
    made = recorded.Mesh(torch.as_tensor(vertices), torch.as_tensor(faces), attributes, **mesh)
    return {"mesh": [made]}, torch.zeros((voxels, 4), dtype=torch.int32), None


CORNERS = ((0.0, 0.0, 0.0), (0.4, 0.0, 0.0), (0.0, 0.4, 0.0))


def test_a_result_is_taken_with_its_colours() -> None:
    found = interface.take_result(result(CORNERS, attributes=torch.tensor([[0.5, 2.0, -1.0, 9, 9, 9]] * 3)))
    assert (found.vertices.dtype, found.faces.dtype, found.voxels) == (np.float64, np.int32, 4)
    assert found.colours is not None
    assert found.colours[0].tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "code", "word"),
    [
        (result(CORNERS)[:2], Code.ENGINE_UNAVAILABLE, "three things"),
        (({}, torch.zeros((1, 4)), None), Code.ENGINE_UNAVAILABLE, "no mesh"),
        (result(CORNERS, voxels=0), Code.OPTIMIZATION_DIVERGED, "empty"),
        (result(CORNERS, success=False), Code.OPTIMIZATION_DIVERGED, "empty"),
        (result(((0.0, 0.0, float("nan")), *CORNERS[1:])), Code.OPTIMIZATION_DIVERGED, "numbers"),
        (result(((0.0, 0.0, 0.7), *CORNERS[1:])), Code.ENGINE_UNAVAILABLE, "unit box"),
        (result(CORNERS, ((0, 1, 3),)), Code.ENGINE_UNAVAILABLE, "without vertices"),
    ],
)
def test_a_result_that_is_not_one_is_named(given: Any, code: Code, word: str) -> None:
    error = refused(interface.take_result, given)
    assert error.code is code
    assert word in error.message


class Scripted:
    """Model, as generate() sees it."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, bool]] = []
        self.freed = 0

    def low_vram(self, wanted: bool | None) -> bool:
        return bool(wanted)

    def run(self, views: Any, settings: Any, seed: int, low_vram: bool) -> Any:
        self.asked.append((seed, low_vram))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def free(self) -> None:
        self.freed += 1


FULL = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def test_out_of_memory_is_tried_once_more_sparingly(run: Any) -> None:
    model = Scripted(FULL, result(CORNERS))
    assert generate(model, [], ReconviagenSettings(), 7, run).voxels == 4  # type: ignore[arg-type]
    assert (model.asked, model.freed) == ([(7, False), (7, True)], 2)
    assert run.warnings[0][0] == "low_vram"


@pytest.mark.parametrize(("sparing", "tries"), [(None, 2), (True, 1)])
def test_out_of_memory_twice_is_an_error(run: Any, sparing: bool | None, tries: int) -> None:
    model = Scripted(FULL, FULL)
    error = refused(generate, model, [], ReconviagenSettings(low_vram=sparing), 0, run)
    assert error.code is Code.GPU_OUT_OF_MEMORY
    assert (len(model.asked), model.freed) == (tries, tries)


def test_another_failure_of_the_gpu_is_not_retried(run: Any) -> None:
    model = Scripted(RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal"):
        generate(model, [], ReconviagenSettings(), 0, run)  # type: ignore[arg-type]


def view(alpha: Any) -> View:
    camera = Camera(np.eye(3), np.array([0.0, 0.0, 2.0]), 40.0)
    return View("front", camera, np.full((*alpha.shape, 3), 0.25, np.float32), alpha.astype(np.float32), None)


def test_pictures_carry_our_masks_and_are_never_wholly_opaque() -> None:
    (made,) = pictures([view(np.ones((8, 8)))])
    assert made.mode == "RGBA"
    assert np.array(made)[0, 0].tolist() == [64, 64, 64, 254]
    assert np.array(made)[1, 1].tolist() == [64, 64, 64, 255]


def test_a_view_without_an_object_is_refused() -> None:
    error = refused(pictures, [view(np.full((8, 8), 0.5))])
    assert (error.code, error.details) == (Code.INCONSISTENT_VIEWS, {"view": "front"})


def test_attention_in_blocks_is_attention_block_by_block() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 7, 2, 4) for _ in range(3))
    mask = attention.BlockDiagonalMask.from_seqlens([3, 4])
    whole = attention.memory_efficient_attention(q, k, v, mask)
    first = attention.memory_efficient_attention(q[:, :3], k[:, :3], v[:, :3])
    scores = torch.einsum("mhk,nhk->hmn", q[0, 3:], k[0, 3:]) / 2
    second = torch.einsum("hmn,nhk->mhk", scores.softmax(-1), v[0, 3:])
    assert torch.allclose(whole[:, :3], first)
    assert torch.allclose(whole[0, 3:], second, atol=1e-6)


def test_what_is_left_out_fails_only_when_used() -> None:
    import sys

    with official._without(["utils3d", "utils3d.torch"]):
        import utils3d.torch

        part = utils3d.torch.something
    assert "utils3d" not in sys.modules
    assert "leaves out" in refused(part, 1).message
    assert isinstance(part, official._Absent)


def test_nothing_is_fetched_for_dinov2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = types.SimpleNamespace(VGGT=None, AutoModelForImageSegmentation=None, dreamsim=None)
    before = torch.hub.load
    with official._local(module, tmp_path):
        error = refused(torch.hub.load, "facebookresearch/dinov2", "dinov2_vitl14_reg")
    assert error.code is Code.ENGINE_UNAVAILABLE
    assert torch.hub.load is before
    assert module.VGGT is None


def test_without_a_gpu_it_is_refused_but_for_tests() -> None:
    error = refused(reconviagen.require_device, "cpu", {})
    assert error.code is Code.GPU_UNAVAILABLE
    accepted = {licences.ACCEPT: "vggt-weights"}
    reconviagen.require_device("cpu", {reconviagen.CPU: "tiny-weights", **accepted})


def test_licences_have_to_be_accepted() -> None:
    error = refused(reconviagen.require_device, "cuda", {licences.ACCEPT: "nvdiffrast"})
    assert error.code is Code.ENGINE_UNAVAILABLE
    assert error.details["licences"] == ["vggt-weights"]
    assert "RECON3D_ACCEPT_LICENCES=nvdiffrast,vggt-weights" in error.suggestion
    reconviagen.require_device("cuda", {licences.ACCEPT: "nvdiffrast,vggt-weights"})
