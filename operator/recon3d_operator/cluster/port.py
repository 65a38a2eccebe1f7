"""What the operator asks of a cluster. Objects are plain dicts, as in JSON; every refusal is an ApiError."""

from __future__ import annotations

from typing import Any, Protocol

Object = dict[str, Any]


class Cluster(Protocol):
    """The API server, as far as the operator needs it."""

    async def create_pod(self, namespace: str, pod: Object) -> Object:
        """Create the Pod; return it as stored. EXISTS if the name is taken."""

    async def get_pod(self, namespace: str, name: str) -> Object:
        """Return the Pod, or GONE."""

    async def delete_pod(self, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """Delete that very Pod; one that is gone, or another of the same name, is left alone without an error."""

    async def get_job(self, namespace: str, name: str) -> Object:
        """Return the ReconstructionJob, or GONE."""

    async def write_status(self, job: Object, status: Object) -> Object:
        """Replace the job's status, if the job is still at its resourceVersion, else CONFLICT; return the new job."""

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete that very job, with all that it owns, in the background; as delete_pod."""

    async def get_quota(self, namespace: str, name: str) -> Object:
        """Return the ResourceQuota, or GONE."""

    async def get_claim(self, namespace: str, name: str) -> Object:
        """Return the PersistentVolumeClaim, or GONE."""

    async def get_secret(self, namespace: str, name: str) -> Object:
        """Return the Secret, or GONE."""

    async def create_event(self, namespace: str, event: Object) -> None:
        """Record a core/v1 Event."""
