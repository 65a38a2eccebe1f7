"""Container images made from files, without a container engine: archives that `ctr images import` reads."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAUSE = "recon3d.local/pause:1"


def layer_of(files: Mapping[str, bytes]) -> bytes:
    """Return a layer with executable `files`, by their paths in the image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write_image(target: Path, name: str, layers: Sequence[Path | bytes], **config: Any) -> Path:
    """Write the image `name` (with its tag) of uncompressed tar `layers`; `config` has Entrypoint, Env, User ...

    The form is that of `docker save`; layers that lie in files are streamed.
    """
    digests = [_digest(layer) for layer in layers]
    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [],
    }
    text = json.dumps(document).encode()
    config_name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar" for digest in digests]}]
    part = target.with_name(f".{target.name}.part")
    with tarfile.open(part, "w") as tar:
        for digest, layer in zip(digests, layers, strict=True):
            member = tarfile.TarInfo(f"{digest}/layer.tar")
            if isinstance(layer, Path):
                member.size = layer.stat().st_size
                with layer.open("rb") as file:
                    tar.addfile(member, file)
            else:
                member.size = len(layer)
                tar.addfile(member, io.BytesIO(layer))
        for file_name, data in ((config_name, text), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(file_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    part.rename(target)
    return target


def _digest(layer: Path | bytes) -> str:
    if isinstance(layer, bytes):
        return hashlib.sha256(layer).hexdigest()
    with layer.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def with_layer(archive: Path, target: Path, name: str, files: Mapping[str, bytes], env: Mapping[str, str]) -> Path:
    """Write the image of `archive` (of `docker save`) once more as `name`, with executable `files` and `env` added."""
    layer = layer_of(files)
    digest = hashlib.sha256(layer).hexdigest()
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        manifest = json.load(_file(old, "manifest.json"))[0]
        document = json.load(_file(old, manifest["Config"]))
        document["rootfs"]["diff_ids"].append(f"sha256:{digest}")
        document["history"] = []
        known = dict(entry.split("=", 1) for entry in document["config"].get("Env") or ())
        document["config"]["Env"] = [f"{key}={value}" for key, value in {**known, **env}.items()]
        for member in old.getmembers():
            if member.name in manifest["Layers"] or member.issym() or member.name.endswith(".tar"):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        text = json.dumps(document).encode()
        manifest["Config"] = f"{hashlib.sha256(text).hexdigest()}.json"
        manifest["RepoTags"] = [name]
        manifest["Layers"].append(f"{digest}/layer.tar")
        parts = ((f"{digest}/layer.tar", layer), (manifest["Config"], text), ("manifest.json", json.dumps([manifest])))
        for file_name, data in parts:
            raw = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(file_name)
            member.size = len(raw)
            new.addfile(member, io.BytesIO(raw))
    return target


def _file(tar: tarfile.TarFile, name: str) -> Any:
    found = tar.extractfile(name)
    assert found is not None
    return found
