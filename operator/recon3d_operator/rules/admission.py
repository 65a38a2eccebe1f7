"""What a job may ask for here: the contract's rules, and this installation's policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.resource import job_of
from recon3d_contract.store import HttpsPolicy, below

from recon3d_operator.model import Observed
from recon3d_operator.settings import Settings

_UNITS: Final = {
    **{f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGT", start=1)},
    **{prefix: 1000.0**power for power, prefix in enumerate("kMGT", start=1)},
    "m": 0.001,
}


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
    return _refused_source(seen.spec.get("input") or {}, settings) or _against_policy(seen.spec, settings)


def _refused_source(source: Mapping[str, Any], settings: Settings) -> Recon3dError | None:
    """Return why the input may not be read.

    A host is checked again by the runner, with every address; but that is after the queue, and on an accelerator. A
    bucket is read with the installation's credentials, which open the results of everybody.
    """
    url, s3 = source.get("url"), source.get("s3")
    if url is not None:
        try:
            HttpsPolicy(hosts=settings.input_hosts).target(str(url))
        except Recon3dError as error:
            return error
    if s3 is not None:
        own = settings.store.startswith("s3://") and not _apart(str(s3), settings.store)
        if own or (settings.input_s3 and not below(str(s3), settings.input_s3)):
            text = "The S3 address is not one that inputs may be read from."
            advice = "Upload the files (input.upload), or ask the administrator to allow the place."
            return Recon3dError(Code.INPUT_NOT_ALLOWED, text, {"input": "s3"}, advice)
    return None


def _apart(ref: str, store: str) -> bool:
    """Whether neither of two places in buckets lies below the other."""
    return not below(ref, (store,)) and not below(store, (ref,)) and ".." not in ref.split("/")


def _against_policy(spec: Mapping[str, Any], settings: Settings) -> Recon3dError | None:
    pod = spec.get("pod") or {}
    problems = [(f"pod.{name}", "is not allowed here") for name in sorted(set(pod) - set(settings.pod_overrides))]
    for name, most in (("cpu", settings.max_cpu), ("memory", settings.max_memory)):
        wanted = (pod.get("resources") or {}).get(name)
        if wanted and most and quantity(wanted) > quantity(most):
            problems.append((f"pod.resources.{name}", f"may be at most {most} here"))
    if spec.get("webhook") and not settings.webhooks:
        problems.append(("webhook", "is not delivered by this installation"))
    if spec.get("queueName") and not settings.kueue:
        problems.append(("queueName", "needs Kueue, which this installation does not use"))
    ref = (spec.get("output") or {}).get("ref")
    if ref is not None and not below(str(ref), settings.output_refs):
        problems.append(("output.ref", "must be left out here, or lie below a place that the administrator allows"))
    if not problems:
        return None
    text = "; ".join(f"{path} {problem}" for path, problem in problems)
    details = {"problems": [{"path": path, "problem": problem} for path, problem in problems]}
    return Recon3dError(Code.INVALID_REQUEST, f"{text}.", details)


def quantity(text: str) -> float:
    """Return a quantity such as 500m or 8Gi as a number."""
    for suffix, factor in _UNITS.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
