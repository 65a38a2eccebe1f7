"""Compiled kernels that an image brings along, so that a Pod need not compile them first.

numba keeps a kernel under its source's hash and the processor that it was compiled for, and writes into its cache. So
an image's kernels are made for a processor by name (`x86-64-v3`: every server since 2015), a run copies them into its
private folder, and a processor that lacks an instruction set compiles its own as everywhere else.

    python -m recon3d_runner.kernels FOLDER [KEPT]   compile them into FOLDER, at the build of an image; KEPT keeps them
                                                     from build to build
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from recon3d_runner.source import builtin_folders

FOLDER: Final = "RECON3D_KERNELS"
"""Environment variable: where an image keeps its kernels."""
CPU_NAME: Final = "x86-64-v3"
_EXTENSIONS: Final = ("avx", "avx2", "bmi", "bmi2", "cx16", "f16c", "fma", "fxsr", "lzcnt", "mmx", "movbe", "popcnt",
                      "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3", "xsave")  # fmt: skip
# As /proc/cpuinfo calls the youngest of them; whoever has these has the others.
_PROOF: Final = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
_SMALL: Final = ("nvdiffrec.resolution=64", "mesh.max_faces=4000")
_KEPT: Final = 3
_SETTINGS: Final = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")


def target() -> dict[str, str]:
    """Return the variables that make numba compile for CPU_NAME."""
    return {"NUMBA_CPU_NAME": CPU_NAME, "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in _EXTENSIONS)}


def fits(cpuinfo: str) -> bool:
    """Whether the processor that /proc/cpuinfo describes can run code for CPU_NAME."""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split()) >= _PROOF


def cache(environment: Mapping[str, str], scratch: Path, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the variables that give numba a cache that it can write to, with the image's kernels in it.

    Where numba finds a place by itself, and where somebody chose one, there is nothing to add.
    """
    if any(name in environment for name in _SETTINGS):
        return {}
    place = scratch / "numba"
    source = Path(environment.get(FOLDER) or "/nowhere")
    try:
        if source.is_dir() and fits(cpuinfo.read_text()):
            shutil.copytree(source, place, copy_function=shutil.copyfile)
            return {"NUMBA_CACHE_DIR": str(place), **target()}
    except OSError:  # a full disk, most likely: the run itself will tell it better
        pass
    # On a read-only root compiled kernels still need a place, even if it is gone with the run.
    writable = any(os.access(folder, os.W_OK) for folder in (Path(__file__).parent, environment.get("HOME", "/")))
    return {} if writable else {"NUMBA_CACHE_DIR": str(place)}


def digest() -> str:
    """Return what all kernels are, in a word: numba looks at one kernel's file, though others are compiled into it."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))]
    named = [text for text in texts if b"numba" in text or b"kernel" in text]
    return hashlib.sha256(b"\0".join([*named, sys.version.encode(), CPU_NAME.encode()])).hexdigest()[:12]


def compile_into(folder: Path, kept: Path | None = None) -> None:
    """Fill `folder` with every kernel that runs use, by running them: sixteen-bit depth, eight-bit depth, and none.

    In `kept` are those of earlier builds; with the same kernels, all that is left is to run.
    """
    place = folder if kept is None else kept / digest()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        inputs = _small_inputs(Path(temporary))
        mesh = _run(inputs[0], place)  # most are compiled here, once
        if importlib.util.find_spec("spconv") is not None:  # the image of ReconViaGen
            command = [sys.executable, "-m", "recon3d_runner.engines.reconviagen.rehearse", str(inputs[0]), str(mesh)]
            subprocess.run(command, env=_environment(place), check=True, stdout=sys.stderr)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda source: _run(source, place), inputs[1:]))
    if place != folder:
        shutil.copytree(place, folder, dirs_exist_ok=True)
        for old in sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old)


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, **target(), "NUMBA_CACHE_DIR": str(place)}


def _run(source: Path, place: Path) -> Path:
    """Return the mesh that the run made."""
    out = source.with_suffix(".out")
    command = [str(Path(sys.executable).parent / "recon3d-runner"), "run", str(source), "--out", str(out)]
    small = [part for setting in _SMALL for part in ("--set", setting)]
    done = subprocess.run(
        [*command, "--profile", "fast", "--device", "cpu", *small],
        env=_environment(place),
        check=False,
        stdout=sys.stderr,
    )
    error = json.loads((out / "result.json").read_text()).get("error")
    # So small a picture may be judged a failure; its kernels are compiled by then.
    if done.returncode and (error or {}).get("code") != "QUALITY_BELOW_THRESHOLD":
        raise SystemExit(f"kernels: the run of {source.name} failed: {error}")
    return out / "nvdiffrec/mesh.glb"


def _small_inputs(folder: Path) -> list[Path]:
    """Make the bundled example small: with sixteen-bit depth, with eight-bit depth, and without depth."""
    import numpy as np
    from PIL import Image

    source = builtin_folders(os.environ)["example"]
    made = [folder / name for name in ("sixteen", "eight", "none")]
    for place in made:
        for kind in ("multi_views", "depth_renders")[: 1 if place.name == "none" else 2]:
            (place / kind).mkdir(parents=True)
            for file in sorted((source / kind).glob("*.png")):
                with Image.open(file) as image:
                    small = image.resize((256, 256), Image.Resampling.NEAREST)
                if kind == "depth_renders" and place.name == "eight":
                    small = Image.fromarray((np.asarray(small) >> 8).astype(np.uint8))
                small.save(place / kind / file.name)
    return made


if __name__ == "__main__":
    compile_into(*map(Path, sys.argv[1:]))
