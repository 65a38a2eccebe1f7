"""Names, labels and annotations that the operator gives to what it makes."""

from __future__ import annotations

import hashlib
from typing import Final

JOB_UID: Final = "recon3d.io/job-uid"
JOB_NAME: Final = "recon3d.io/job-name"
ATTEMPT: Final = "recon3d.io/attempt"
ALLOW: Final = "recon3d.io/allow"
QUEUE_NAME: Final = "kueue.x-k8s.io/queue-name"
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
CAPACITY: Final = "recon3d-capacity"
"""The ConfigMap that tells what the cluster offers."""
POD_SELECTOR: Final = JOB_UID
RUNNER: Final = "runner"
"""The container that reconstructs."""
FIRST_ENGINE: Final = "reconviagen"
"""The init container of a job of both engines; the container RUNNER then runs the other one."""


def pod_name(job_name: str, uid: str, attempt: int) -> str:
    """Return the only name that this attempt's Pod can have, so that AlreadyExists guards against a second one.

    It holds a hash of the uid: a job that was deleted and made again has other Pods.
    """
    digest = hashlib.sha256(uid.encode()).hexdigest()[:10]
    return f"{job_name[:40].rstrip('-.')}-{digest}-{attempt}"
