"""Whether the cluster's accelerators can do the work: are there any, and has each enough memory, where nodes tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recon3d_operator.rules.conditions import Fact
from recon3d_operator.rules.queue import number

_NEEDED_BYTES: Final = 12 * 10**9
_MIB: Final = 2**20


@dataclass(frozen=True)
class Offer:
    """What the nodes offer of one resource."""

    total: int
    smallest_mib: int | None
    """Memory of the smallest accelerator, if nodes tell it by the label <resource>.memory."""

    @property
    def smallest_gib(self) -> float | None:
        """The same in GiB."""
        return None if self.smallest_mib is None else round(self.smallest_mib / 1024, 1)


def offer(nodes: Iterable[Mapping[str, Any]], resource: str) -> Offer:
    """Return what `nodes` offer that are ready and take Pods."""
    total, memories = 0, []
    for node in nodes:
        status = node.get("status") or {}
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        count = number((status.get("allocatable") or {}).get(resource, "0"))
        if not ready or (node.get("spec") or {}).get("unschedulable") or not count:
            continue
        total += count
        told = str((node["metadata"].get("labels") or {}).get(f"{resource}.memory", ""))
        if told.isdecimal():
            memories.append(int(told))
    return Offer(total, min(memories, default=None))


def fact(found: Offer | None, resource: str) -> Fact:
    """Return the condition GPUCapacity; `found` is None where the nodes cannot be looked at."""
    if found is None:
        return "Unknown", "NodesNotVisible", "The operator may not list nodes."
    if found.total == 0:
        return "False", "NoAccelerator", f"No ready node offers {resource}."
    if found.smallest_mib is None:
        return "True", "MemoryNotTold", f"The nodes offer {resource}; none tells its memory."
    if found.smallest_mib * _MIB < _NEEDED_BYTES:
        text = f"A node's {resource} has {found.smallest_gib} GiB; less than 12 GB may not be enough."
        return "False", "MemoryTooSmall", text
    return "True", "Sufficient", f"Each {resource} has at least {found.smallest_gib} GiB."
