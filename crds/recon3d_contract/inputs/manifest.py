"""What an accepted input is: its files, by view, and what was noticed about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from recon3d_contract.conventions import DEPTH_SIZE, RGB_SIZE, VIEWS, ViewName
from recon3d_contract.inputs.png import Kind, PngInfo

FOLDERS: Final[dict[Kind, str]] = {"view": "multi_views", "depth": "depth_renders"}
STANDARD_SIZE: Final[dict[Kind, int]] = {"view": RGB_SIZE, "depth": DEPTH_SIZE}


def canonical(kind: Kind, view: ViewName) -> str:
    """The name that the runner reads: multi_views/front.png."""
    return f"{FOLDERS[kind]}/{view}.png"


@dataclass(frozen=True)
class InputFile:
    """One accepted image."""

    view: ViewName
    kind: Kind
    name: str
    """Canonical."""
    source: str
    """As it was called in the folder or archive."""
    width: int
    height: int
    bit_depth: int
    colour_type: int
    """0 gray, 2 RGB, 6 RGBA."""
    bytes: int
    sha256: str
    """Of the file as it was given; the extracted copy has lost its metadata."""

    @classmethod
    def of(cls, kind: Kind, view: ViewName, source: str, info: PngInfo) -> InputFile:
        """Combine a name's meaning with what the file is."""
        return cls(
            view=view,
            kind=kind,
            name=canonical(kind, view),
            source=source,
            width=info.width,
            height=info.height,
            bit_depth=info.bit_depth,
            colour_type=info.colour_type,
            bytes=info.bytes,
            sha256=info.sha256,
        )


@dataclass(frozen=True)
class InputWarning:
    """Something odd that does no harm."""

    code: str
    """unusual_size | no_depth | ignored_files | renamed_files"""
    message: str


@dataclass(frozen=True)
class InputManifest:
    """All files, views before depth renders, in the order of conventions.VIEWS."""

    files: tuple[InputFile, ...]
    warnings: tuple[InputWarning, ...]

    @property
    def has_depth(self) -> bool:
        """Whether the six depth renders are there."""
        return any(file.kind == "depth" for file in self.files)

    @property
    def rgb_size(self) -> int:
        """Pixels on a side of the views."""
        return next(file.width for file in self.files if file.kind == "view")

    @property
    def depth_size(self) -> int | None:
        """Pixels on a side of the depth renders."""
        return next((file.width for file in self.files if file.kind == "depth"), None)

    @property
    def sha256(self) -> str:
        """One hash of all files and what they are, however they were packed."""
        listing = "".join(f"{file.sha256}  {file.name}\n" for file in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "files": [asdict(file) for file in self.files],
            "warnings": [asdict(warning) for warning in self.warnings],
            "sha256": self.sha256,
        }


def in_order(files: Iterable[InputFile]) -> tuple[InputFile, ...]:
    """Sort as InputManifest.files."""
    return tuple(sorted(files, key=lambda file: (file.kind != "view", VIEWS.index(file.view))))
