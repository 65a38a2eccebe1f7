"""What a user names as an input: a folder or ZIP here, or something that the service finds by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.inputs import check_source
from recon3d_contract.store.reference import parse_reference

Part = tuple[str, tuple[str, BinaryIO, str]]


@dataclass(frozen=True)
class Source:
    """Files here, or a reference."""

    files: tuple[tuple[str, Path], ...] = ()
    """(name to send, path) of each file."""
    reference: dict[str, Any] | None = None
    """The job's `input`, where nothing is sent."""
    warnings: tuple[str, ...] = ()

    @contextlib.contextmanager
    def parts(self) -> Iterator[list[Part]]:
        """Open the files as parts of a form."""
        with contextlib.ExitStack() as stack:
            yield [
                (
                    "files[]",
                    (name, stack.enter_context(path.open("rb")), "application/zip" if _is_zip(name) else "image/png"),
                )
                for name, path in self.files
            ]


def source_of(text: str) -> Source:
    """Return what `text` names; what lies here is checked before a byte of it is sent. Raises as check_source."""
    if text.startswith("upload:"):
        return Source(reference={"upload": text.removeprefix("upload:")})
    reference = parse_reference(text)
    if reference.scheme == "builtin":
        return Source(reference={"builtin": reference.value})
    if reference.scheme == "https":
        return Source(reference={"url": reference.value, "sha256": reference.sha256})
    if reference.scheme == "s3":
        return Source(reference={"s3": text})
    path = Path(text)
    if not path.exists():
        raise Recon3dError(Code.INPUT_NOT_FOUND, f"There is no folder or file {path.name}.")
    manifest = check_source(path)
    warnings = tuple(warning.message for warning in manifest.warnings)
    if path.is_file():
        return Source(((path.name if _is_zip(path.name) else f"{path.name}.zip", path),), warnings=warnings)
    return Source(tuple((file.source, path / file.source) for file in manifest.files), warnings=warnings)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")
