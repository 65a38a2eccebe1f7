"""Fetches and checks what the engine reconviagen runs on: the official code, its weights, and DINOv2.

    python -m recon3d_runner.engines.reconviagen.weights fetch --home DIR    fetch what is missing (about 9 GB), resume
    python -m recon3d_runner.engines.reconviagen.weights verify --home DIR   check everything, without any network

DIR becomes what RECON3D_RECONVIAGEN_HOME names: code/, weights/ and manifest.json, which lists every file with its
size and SHA-256. Needs no numerical library, so that an image can fetch before those are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from recon3d_runner.engines.reconviagen import pins
from recon3d_runner.engines.reconviagen.digests import files_sha256, tree_sha256
from recon3d_runner.engines.reconviagen.download import FetchError, fetch_file, read_json

MANIFEST: Final = "manifest.json"
CODE: Final = "code"
WEIGHTS: Final = "weights"


@dataclass(frozen=True)
class Entry:
    """One file of the weights."""

    path: str
    """Below the weights."""
    bytes: int
    sha256: str
    known_by: str
    """Who named the digest before the file came: hub, public record, or nobody (it was computed from what came)."""


@dataclass(frozen=True)
class Manifest:
    """What lies below a home."""

    code_commit: str
    code_sha256: str
    dino_commit: str
    dino_sha256: str
    revisions: dict[str, str]
    files: tuple[Entry, ...]

    def write(self, home: Path) -> None:
        """Write manifest.json."""
        (home / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_manifest(home: Path) -> Manifest:
    """Read manifest.json; ValueError where there is none that can be read."""
    try:
        data = json.loads((home / MANIFEST).read_text())
        return Manifest(**{**data, "files": tuple(Entry(**entry) for entry in data["files"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{MANIFEST} is missing or not readable") from error


COMMAND: Final = 'python -m recon3d_runner.engines.reconviagen.weights fetch --home "$RECON3D_RECONVIAGEN_HOME"'
"""Fetches everything; by the variable, since paths of the machine are not for users."""


def problems(home: Path) -> list[str]:
    """Return what is missing or altered below `home`, one line each, files named relative to it; [] if all is well."""
    try:
        manifest = read_manifest(home)
    except ValueError as error:
        return [str(error)]
    found = []
    for name, root, folders, wanted in (
        (CODE, home / CODE, pins.CODE_FOLDERS, manifest.code_sha256),
        (f"{WEIGHTS}/{pins.DINO_FOLDER}", home / WEIGHTS / pins.DINO_FOLDER, pins.DINO_FOLDERS, manifest.dino_sha256),
    ):
        missing = [folder for folder in folders if not (root / folder).exists()]
        if missing:
            found.append(f"{name}/{missing[0]} is missing")
        elif tree_sha256(root, folders) != wanted:
            found.append(f"{name} was altered")
    there = []
    for entry in manifest.files:
        path = home / WEIGHTS / entry.path
        if not path.is_file():
            found.append(f"{WEIGHTS}/{entry.path} is missing")
        elif path.stat().st_size != entry.bytes:
            found.append(f"{WEIGHTS}/{entry.path} was altered (it has {path.stat().st_size} bytes, not {entry.bytes})")
        else:
            there.append((entry, path))
    digests = files_sha256([path for _, path in there])
    found += [f"{WEIGHTS}/{e.path} was altered" for (e, _), d in zip(there, digests, strict=True) if d != e.sha256]
    if not manifest.files:
        found.append(f"{MANIFEST} lists no weights")
    return found


@dataclass(frozen=True)
class Sources:
    """Where from; mirrors and tests name others."""

    hub: str = "https://huggingface.co"
    git: str = "https://codeload.github.com"
    dino: str = pins.DINO_WEIGHTS_URL


def fetch(home: Path, sources: Sources, say: object = print) -> Manifest:
    """Fetch everything into `home` and write its manifest. FetchError names what could not be had."""
    tell = say if callable(say) else print
    code = _tree(sources, pins.CODE_REPOSITORY, pins.CODE_COMMIT, pins.CODE_FOLDERS, pins.CODE_SHA256, home / CODE)
    tell(f"code at {pins.CODE_COMMIT}")
    dino = _tree(
        sources, pins.DINO_REPOSITORY, pins.DINO_COMMIT, pins.DINO_FOLDERS, pins.DINO_SHA256,
        home / WEIGHTS / pins.DINO_FOLDER,
    )  # fmt: skip
    tell(f"DINOv2 code at {pins.DINO_COMMIT}")
    entries = []
    for hub in pins.HUBS:
        entries += _hub(sources, hub, home / WEIGHTS, tell)
    path = home / WEIGHTS / pins.DINO_WEIGHTS
    digest = fetch_file(sources.dino, path, size=None, sha256=pins.DINO_WEIGHTS_SHA256)
    entries.append(Entry(pins.DINO_WEIGHTS, path.stat().st_size, digest, "public record"))
    tell(f"{pins.DINO_WEIGHTS} {path.stat().st_size:,} bytes")
    revisions = {hub.repository: hub.revision for hub in pins.HUBS}
    manifest = Manifest(pins.CODE_COMMIT, code, pins.DINO_COMMIT, dino, revisions, tuple(entries))
    manifest.write(home)
    return manifest


def _hub(sources: Sources, hub: pins.Hub, weights: Path, tell: object) -> list[Entry]:
    listed = read_json(f"{sources.hub}/api/models/{hub.repository}/tree/{hub.revision}?recursive=true")
    entries = []
    for item in listed:
        name = str(item["path"])
        if item.get("type") != "file" or not name.endswith(hub.only) or ".." in PurePosixPath(name).parts:
            continue
        large = item.get("lfs") or {}
        named, recorded = large.get("oid"), hub.known.get(name)
        if named and recorded and named != recorded:
            raise FetchError(
                f"{hub.repository}/{name}: the hub names SHA-256 {named}, public records of {hub.revision} {recorded}"
            )
        path = weights / hub.folder / name
        url = f"{sources.hub}/{hub.repository}/resolve/{hub.revision}/{name}"
        digest = fetch_file(
            url, path, size=int(item["size"]), sha256=named or recorded, git=None if large else item["oid"]
        )
        known_by = "hub" if named or not recorded else "public record"
        entries.append(Entry(f"{hub.folder}/{name}", path.stat().st_size, digest, known_by))
        if callable(tell):
            tell(f"{hub.folder}/{name} {path.stat().st_size:,} bytes")
    missing = sorted(set(hub.known) - {entry.path.partition("/")[2] for entry in entries})
    if missing or not entries:
        raise FetchError(f"{hub.repository} at {hub.revision} does not have {missing or 'any file that is needed'}")
    return entries


def _tree(sources: Sources, repository: str, commit: str, folders: Sequence[str], sha256: str, to: Path) -> str:
    """Unpack `folders` of a repository at `commit` into `to`; returns their digest."""
    if to.is_dir() and tree_sha256(to, folders) == sha256:
        return sha256
    url = f"{sources.git}/{repository.partition('github.com/')[2]}/tar.gz/{commit}"
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
        archive = Path(scratch) / "code.tar.gz"
        fetch_file(url, archive, size=None, sha256=None)
        made = Path(scratch) / "made"
        with tarfile.open(archive) as packed:
            for member in packed:
                inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                wanted = inside.name == "LICENSE" or any(
                    inside.is_relative_to(folder) or str(inside) == folder for folder in folders
                )
                if not member.isfile() or not wanted or ".." in inside.parts or not inside.parts:
                    continue
                source = packed.extractfile(member)
                if source is None:
                    continue
                target = made / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        found = tree_sha256(made, folders)
        if found != sha256:
            raise FetchError(f"{url}: the code has digest {found}, not {sha256}")
        shutil.rmtree(to, ignore_errors=True)
        made.rename(to)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when everything is there and right."""
    parser = argparse.ArgumentParser(prog="weights", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("fetch", "verify"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--hub", default=os.environ.get("HF_ENDPOINT", Sources.hub), help="another hub, a mirror")
    parser.add_argument("--git", default=Sources.git, help="another server of source archives")
    parser.add_argument("--dino", default=Sources.dino, help="another address of DINOv2's weights")
    a = parser.parse_args(arguments)
    if a.what == "fetch":
        try:
            fetch(a.home, Sources(a.hub, a.git, a.dino), lambda line: sys.stderr.write(f"[weights] {line}\n"))
        except FetchError as error:
            sys.stderr.write(f"[weights] {error}\n")
            return 1
    found = problems(a.home)
    for line in found:
        sys.stderr.write(f"[weights] {line}\n")
    if not found:
        sys.stdout.write(f"{len(read_manifest(a.home).files)} files are as they should be.\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
