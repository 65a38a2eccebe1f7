"""What a job may ask for here: the contract's rules, and this installation's policy."""

from __future__ import annotations

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.resource import job_of

from recon3d_operator.model import Observed
from recon3d_operator.settings import Settings


def refused_job(seen: Observed, settings: Settings) -> Recon3dError | None:
    """Return why the job can never run here; None if it may join the queue."""
    if seen.refused is not None:
        return seen.refused
    if seen.status.get("phase"):
        return None  # it was accepted once, and these fields cannot change
    try:
        job_of(seen.spec)
    except Recon3dError as error:
        return error
    unwanted = sorted(set(seen.spec.get("pod") or {}) - set(settings.pod_overrides))
    if unwanted:
        text = f"This installation does not let a job set pod.{', pod.'.join(unwanted)}."
        return Recon3dError(Code.INVALID_REQUEST, text, {"problems": [{"path": f"pod.{u}"} for u in unwanted]})
    return None
