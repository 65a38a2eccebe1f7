"""Which device computes, with a torch and a driver that say what a test wants; the machine itself is not asked."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner.engines import device

DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  525.85.12  Sat Jan 28 02:10:06 UTC 2023\nGCC version: 12\n"


def torch_with(memory: int | None) -> ModuleType:
    module = ModuleType("torch")
    module.__version__ = "2.11.0"
    module.version = SimpleNamespace(cuda="13.0")
    found = SimpleNamespace(name="a test GPU", total_memory=memory)
    module.cuda = SimpleNamespace(is_available=lambda: memory is not None, get_device_properties=lambda _: found)
    module.zeros = lambda *_, **__: SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 0.0))
    return module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Give the machine a GPU of so many bytes (None: none that torch can use) and its driver's file."""

    def give(memory: int | None, driver: str | None = DRIVER) -> None:
        monkeypatch.setitem(sys.modules, "torch", torch_with(memory))
        rasteriser = ModuleType("nvdiffrast")
        rasteriser.__spec__ = importlib.machinery.ModuleSpec("nvdiffrast", None)
        monkeypatch.setitem(sys.modules, "nvdiffrast", rasteriser)
        monkeypatch.setattr(device, "driver_version", lambda: device.__dict__["_test_driver"])
        monkeypatch.setattr(device, "_test_driver", driver and "525.85.12", raising=False)

    return give


def refusal(engine: str = "nvdiffrec") -> Recon3dError:
    with pytest.raises(Recon3dError) as caught:
        device.choose("cuda", engine)
    assert caught.value.code is Code.GPU_UNAVAILABLE
    return caught.value


def test_a_gpu_of_twelve_gigabytes_is_enough_for_one_engine_and_not_for_the_other(gpu):
    gpu(12_630_000_000)
    assert device.choose("cuda").device == "cuda"
    error = refusal("reconviagen")
    assert "12.6 GB" in error.message
    assert "16 GB" in error.message


def test_a_small_gpu_is_refused_with_its_size(gpu):
    gpu(8_500_000_000)
    assert "8.5 GB of memory; at least 12 GB" in refusal().message


def test_an_old_driver_is_named(gpu):
    gpu(None)
    error = refusal()
    assert "driver 525.85.12 does not run CUDA 13.0" in error.message
    assert device.choose("auto").device == "cpu"
    assert "too old" in (device.choose("auto").why or "")


def test_without_a_gpu_auto_takes_the_cpu_without_a_word(gpu):
    gpu(None, driver=None)
    assert device.choose("auto").why is None
    assert "No usable CUDA device" in refusal().message


def test_an_installation_without_torch_has_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert device.choose("auto").device == "cpu"
    assert "no torch" in refusal().message


def test_the_driver_s_file_is_read(tmp_path: Path):
    file = tmp_path / "version"
    assert device.driver_version(file) is None
    file.write_text(DRIVER)
    assert device.driver_version(file) == "525.85.12"
