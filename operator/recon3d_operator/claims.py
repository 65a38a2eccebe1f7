"""Which volumes a job may read: only those whose owner has labelled them."""

from __future__ import annotations

from recon3d_contract.errors import Code, Recon3dError

from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.model import Object
from recon3d_operator.names import ALLOW


def uses_of(obj: Object) -> list[str]:
    """Return what jobs may use the object for: the words of its label, as in `input.webhook`."""
    return str((obj["metadata"].get("labels") or {}).get(ALLOW, "")).replace("_", ".").split(".")


async def refused_input(cluster: Cluster, job: Object) -> Recon3dError | None:
    """Return why the job may not use the volume that it names."""
    source = job["spec"]["input"].get("pvc")
    if not source:
        return None
    name = source["claimName"]
    try:
        claim = await cluster.get_claim(job["metadata"]["namespace"], name)
    except ApiError as error:
        if error.kind is Kind.GONE:
            return Recon3dError(Code.INPUT_NOT_FOUND, f"There is no PersistentVolumeClaim {name}.")
        raise
    if "input" in uses_of(claim):
        return None
    text = f"The PersistentVolumeClaim {name} lacks the label {ALLOW}=input."
    return Recon3dError(Code.INPUT_NOT_ALLOWED, text, suggestion="Ask the owner of the volume to label it.")
