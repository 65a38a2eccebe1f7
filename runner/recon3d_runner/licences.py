"""Third-party parts whose licences restrict what a result may be used for, and which of them a user has accepted.

Everything else that the runner uses is permissive. Acceptance is given by the person who installs or runs it, as
RECON3D_ACCEPT_LICENCES=nvdiffrast,vggt-weights, and is written into each result's provenance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from recon3d_contract.errors import Code, Recon3dError

ACCEPT: Final = "RECON3D_ACCEPT_LICENCES"


@dataclass(frozen=True)
class Licence:
    """One restricted part."""

    id: str
    part: str
    terms: str
    engines: tuple[str, ...]
    """Engines that use it."""
    devices: tuple[str, ...] = ("cuda",)
    """Devices on which they do."""
    package: str | None = None
    """Used only where this package is among a result's versions; None: always."""

    def notice(self) -> str:
        """Return one sentence for the user."""
        return f"{self.part} was used; its licence ({self.terms}) allows no commercial use."


RESTRICTED: Final[tuple[Licence, ...]] = (
    Licence(
        "nvdiffrast",
        "The rasteriser nvdiffrast",
        "NVIDIA Source Code License, 1-Way Commercial",
        ("nvdiffrec", "reconviagen"),
        package="nvdiffrast",
    ),
    Licence("vggt-weights", "The VGGT model", "VGGT weights, non-commercial", ("reconviagen",), ("cuda", "cpu")),
)


def used(engine: str, device: str, versions: Collection[str] | None = None) -> list[Licence]:
    """Return the restricted parts that `engine` uses on `device` (cuda or cpu).

    versions: the packages that took part in a result; None before there is one: all that may.
    """
    return [
        licence
        for licence in RESTRICTED
        if engine in licence.engines
        and device in licence.devices
        and (licence.package is None or versions is None or licence.package in versions)
    ]


def accepted(environment: Mapping[str, str]) -> list[str]:
    """Return the ids accepted in RECON3D_ACCEPT_LICENCES, in order. INVALID_REQUEST for one that does not exist."""
    given = set(environment.get(ACCEPT, "").replace(",", " ").split())
    known = [licence.id for licence in RESTRICTED]
    unknown = sorted(given - set(known))
    if unknown:
        raise Recon3dError(
            Code.INVALID_REQUEST, f"{ACCEPT} names an unknown licence.", {"unknown": unknown, "known": known}
        )
    return [name for name in known if name in given]
