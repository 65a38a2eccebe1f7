"""Which volumes and Secrets a job may use: only those whose owner has labelled them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError

from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.model import Object
from recon3d_operator.names import ALLOW
from recon3d_operator.rules.conditions import Fact
from recon3d_operator.rules.webhook import secret_of

MISSING: Final = "SecretMissing"
NOT_ALLOWED: Final = "SecretNotAllowed"
INVALID: Final = "SecretInvalid"


class UnusableSecretError(Exception):
    """Why a webhook cannot be signed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


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


async def webhook_key(cluster: Cluster, namespace: str, ref: Mapping[str, str]) -> bytes:
    """Return the key that a webhook is signed with. Raises UnusableSecretError, and ApiError where nobody can tell."""
    name, key = ref["name"], ref.get("key") or "secret"
    try:
        secret = await cluster.get_secret(namespace, name)
    except ApiError as error:
        if error.kind is Kind.GONE:
            raise UnusableSecretError(MISSING, f"There is no Secret {name}.") from None
        raise
    if "webhook" not in uses_of(secret):
        raise UnusableSecretError(NOT_ALLOWED, f"The Secret {name} lacks the label {ALLOW}=webhook.")
    value = base64.b64decode((secret.get("data") or {}).get(key, "")).decode(errors="replace")
    found = secret_of(value)
    if found is None:
        text = f"The key {key} of the Secret {name} is not whsec_ and base64 of 24 to 64 bytes."
        raise UnusableSecretError(INVALID, text)
    return found


async def webhook_ready(cluster: Cluster, job: Mapping[str, Any]) -> tuple[Fact, Recon3dError | None]:
    """Return the condition WebhookReady, and why the job may not use its Secret.

    A Secret that is missing or malformed can still be put right before the job ends, so the job goes on; one that
    its owner has not given to webhooks refuses it.
    """
    try:
        await webhook_key(cluster, job["metadata"]["namespace"], job["spec"]["webhook"]["secretRef"])
    except UnusableSecretError as error:
        if error.reason == NOT_ALLOWED:
            problems = [{"path": "webhook.secretRef", "problem": str(error)}]
            advice = "Ask the owner of the Secret to label it, then create the job again."
            refused = Recon3dError(Code.INVALID_REQUEST, str(error), {"problems": problems}, advice)
            return ("False", error.reason, str(error)), refused
        return ("False", error.reason, f"{error} Put it right before the job ends."), None
    return ("True", "SecretUsable", ""), None
