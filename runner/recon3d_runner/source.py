"""From the word that names an input to a function that fetches, checks and extracts it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from recon3d_contract.inputs import InputManifest, extract
from recon3d_contract.store import HttpsPolicy, InputReader, Reference, parse_reference

Fetch = Callable[[Path, Path], InputManifest]
"""(folder for the checked input, scratch folder) -> what it is."""


def builtin_folders(environment: Mapping[str, str]) -> dict[str, Path]:
    """Return the built-in inputs by name: below RECON3D_BUILTIN_DIR, else the installed ones, else the checkout's."""
    given = environment.get("RECON3D_BUILTIN_DIR")
    here = Path(__file__).resolve().parent
    root = Path(given) if given else here / "builtin"
    found = {path.name: path for path in root.iterdir() if path.is_dir()} if root.is_dir() else {}
    example = here.parents[1] / "examples" / "input"
    if not given and "example" not in found and (example / "multi_views").is_dir():
        found["example"] = example
    return found


def pod_policy(environment: Mapping[str, str]) -> HttpsPolicy:
    """Return what a Pod may fetch: the hosts of RECON3D_INPUT_HOSTS, by default none."""
    return HttpsPolicy(
        hosts=tuple(environment.get("RECON3D_INPUT_HOSTS", "").replace(",", " ").split()),
        private_addresses=environment.get("RECON3D_INPUT_PRIVATE_ADDRESSES") == "true",
        ca_file=environment.get("RECON3D_INPUT_CA") or None,
    )


def own_policy(reference: Reference, environment: Mapping[str, str]) -> HttpsPolicy:
    """Return what a person may fetch who named the address on the command line: that one host."""
    if reference.scheme != "https":
        return HttpsPolicy()
    parts = urlsplit(reference.value)
    host = parts.hostname or ""
    return HttpsPolicy(
        hosts=(f"{host}:{parts.port}" if parts.port else host,),
        private_addresses=True,
        ca_file=environment.get("RECON3D_INPUT_CA") or None,
    )


def reader(policy: HttpsPolicy, environment: Mapping[str, str]) -> InputReader:
    """Return the reader of this machine."""
    return InputReader(https=policy, builtin=builtin_folders(environment))


def local_path(reference: Reference, environment: Mapping[str, str]) -> Path | None:
    """Return where an input that needs no fetching lies; None for one that does, or is not there."""
    if reference.scheme == "builtin":
        return builtin_folders(environment).get(reference.value)
    return Path(reference.value) if reference.scheme == "path" else None


def fetcher(text: str, environment: Mapping[str, str] | None = None, policy: HttpsPolicy | None = None) -> Fetch:
    """Return a function that fills a folder with the checked input of the reference `text`.

    Without `policy`, the reference is trusted as a person's own. Everything wrong is told when it is called.
    """
    env = os.environ if environment is None else environment

    def fetch(dest: Path, scratch: Path) -> InputManifest:
        reference = parse_reference(text)
        path = reader(policy or own_policy(reference, env), env).read(reference, scratch)
        manifest = extract(path, dest)
        if scratch in path.parents:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return manifest

    return fetch
