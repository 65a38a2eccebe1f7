"""Who asks, and what they may see."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d_api.cluster.cache import CachedJob


@dataclass(frozen=True)
class Principal:
    """A person or program with jobs of its own; many keys may stand for one."""

    name: str
    namespace_scope: bool = False
    """Whether it sees the jobs without an owner too, those made with kubectl."""
    everything: bool = False
    """Nobody is told apart here (RECON3D_AUTH=none)."""

    def sees(self, job: CachedJob) -> bool:
        """Whether the job exists for this principal."""
        return self.everything or job.owner == self.name or (job.owner is None and self.namespace_scope)


ANYBODY = Principal("anybody", namespace_scope=True, everything=True)
