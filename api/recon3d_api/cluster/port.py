"""What the shim asks of the API server, in one namespace. Objects are plain dicts; every refusal is a ClusterError."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from recon3d_contract.errors import Code, Recon3dError

Object = dict[str, Any]

_PREFIX = re.compile(r"^.*?is invalid: ", re.DOTALL)


class ClusterError(Exception):
    """A refusal by the API server, or no answer from it (status 0)."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status} {reason}: {message}"[:1000])
        self.status, self.message, self.reason = status, message[:1000], reason

    @property
    def exists(self) -> bool:
        """The name is taken."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """The object has changed meanwhile."""
        return self.status == 409 and not self.exists

    def told(self) -> Recon3dError:
        """Return what a user is told."""
        if self.status == 404:
            return Recon3dError(Code.JOB_NOT_FOUND)
        if self.status in (400, 422):
            problems = [{"path": "", "problem": _PREFIX.sub("", self.message)}]
            return Recon3dError(Code.INVALID_REQUEST, problems[0]["problem"], {"problems": problems})
        if self.status == 403 and "exceeded quota" in self.message:
            return Recon3dError(Code.QUOTA_EXCEEDED, "The namespace's quota of jobs is used up.")
        if self.status in (401, 403):
            return Recon3dError(
                Code.CLUSTER_UNAVAILABLE,
                "The service lacks a right in the cluster.",
                suggestion="Tell the administrator: the chart's RBAC is missing.",
            )
        return Recon3dError(Code.CLUSTER_UNAVAILABLE)


class Cluster(Protocol):
    """The API server, as far as the shim needs it. All raise ClusterError."""

    async def create_job(self, job: Object) -> Object:
        """Create the ReconstructionJob; return it as stored."""

    async def get_job(self, name: str) -> Object:
        """Return the job, as of now."""

    async def patch_job(self, name: str, patch: Mapping[str, Any]) -> Object:
        """Merge `patch` into the job; with a metadata.resourceVersion in it, only into that version."""

    async def delete_job(self, name: str, uid: str) -> None:
        """Delete that very job, with all that it owns, in the background."""

    async def list_jobs(self) -> tuple[list[Object], str]:
        """Return all jobs, as of now, and the list's resource version."""

    def watch_jobs(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED | MODIFIED | DELETED | BOOKMARK, object) since `version`; ends after minutes."""

    async def capacity(self) -> Mapping[str, str] | None:
        """Return the data of the ConfigMap recon3d-capacity; None if there is none."""
