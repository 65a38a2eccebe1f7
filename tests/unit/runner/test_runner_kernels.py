"""Kernels that an image brings along: copied where they fit, left alone where they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recon3d_runner import kernels

NEW = "processor : 0\nflags : fpu sse4_2 avx avx2 bmi1 bmi2 f16c fma movbe abm\n"
OLD = "processor : 0\nflags : fpu sse4_2 avx\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image/raster_1").mkdir(parents=True)
    (tmp_path / "image/raster_1/kernel.nbc").write_bytes(b"code")
    (tmp_path / "cpuinfo").write_text(NEW)
    (tmp_path / "scratch").mkdir()
    return tmp_path


def cache(image: Path, **environment: str) -> dict[str, str]:
    given = {"RECON3D_KERNELS": str(image / "image"), "HOME": str(image), **environment}
    return kernels.cache(given, image / "scratch", image / "cpuinfo")


def test_they_are_copied_to_where_numba_may_write(image: Path):
    found = cache(image)
    assert found == {"NUMBA_CACHE_DIR": str(image / "scratch/numba"), **kernels.target()}
    assert (image / "scratch/numba/raster_1/kernel.nbc").read_bytes() == b"code"


def test_an_older_processor_compiles_its_own(image: Path):
    (image / "cpuinfo").write_text(OLD)
    assert cache(image) == {}
    assert not (image / "scratch/numba").exists()


def test_whoever_set_numba_s_variables_is_left_alone(image: Path):
    assert cache(image, NUMBA_CACHE_DIR="/elsewhere") == {}


def test_numba_compiles_for_the_processor_that_is_named(tmp_path: Path):
    """The names are LLVM's own: a wrong one would be a warning and another processor's code."""
    script = (
        "from numba import njit\n"
        "f = njit(lambda x: x * 2.5 + 1)\n"
        "assert f(2.0) == 6.0\n"
        "from numba.core.registry import cpu_target\n"
        "print(cpu_target.target_context.codegen().magic_tuple()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **kernels.target()}, capture_output=True, text=True,
        check=True, timeout=100,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == (kernels.CPU_NAME, "")


def test_another_checkout_finds_the_kernels_of_this_one(tmp_path: Path):
    """The same package at two places: the second one compiles nothing."""
    script = "from recon3d_runner import one; print(one.twice(21.0))"
    source = "from recon3d_runner.quality.jit import kernel\n\n@kernel\ndef twice(x):\n    return 2 * x\n"
    for place in ("here", "there"):
        package = tmp_path / place / "recon3d_runner"
        (package / "quality").mkdir(parents=True)
        for name in ("__init__.py", "numba_place.py", "quality/__init__.py", "quality/jit.py"):
            shutil.copy(Path(kernels.__file__).parent / name, package / name)
        (package / "one.py").write_text(source)
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ, "PYTHONPATH": str(tmp_path / place), "NUMBA_CACHE_DIR": str(tmp_path / "kept"),
                "NUMBA_CACHE_LOCATOR_CLASSES": "recon3d_runner.numba_place.InPackage", "NUMBA_DEBUG_CACHE": "1",
            },
            capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        assert "42.0" in done.stdout
        assert ("data saved" in done.stdout) == (place == "here"), done.stdout
    assert "data loaded" in done.stdout
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["one"]


def test_the_digest_follows_every_kernel_s_file():
    assert kernels.digest() == kernels.digest()
    assert len(kernels.digest()) == 12
