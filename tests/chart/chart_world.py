"""Looking into what the chart renders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/recon3d"
CPU = ("-f", str(CHART / "values-cpu.yaml"))
Docs = list[dict[str, Any]]


class Refusal(Exception):
    """What helm said when it would not."""


def find(docs: Docs, kind: str, name: str = "", namespace: str | None = None) -> dict[str, Any]:
    """The one object of this kind whose name ends so."""
    found = [
        doc
        for doc in docs
        if doc["kind"] == kind
        and doc["metadata"]["name"].endswith(name)
        and namespace in (None, doc["metadata"].get("namespace"))
    ]
    assert len(found) == 1, [(doc["kind"], doc["metadata"]["name"]) for doc in docs]
    return found[0]


def pod_specs(docs: Docs) -> dict[str, dict[str, Any]]:
    """The specs of all Pods that the objects make, by the object's name."""
    found = {}
    for doc in docs:
        spec = doc.get("spec", {})
        if doc["kind"] == "Pod":
            found[doc["metadata"]["name"]] = spec
        elif doc["kind"] == "Deployment":
            found[doc["metadata"]["name"]] = spec["template"]["spec"]
        elif doc["kind"] == "CronJob":
            found[doc["metadata"]["name"]] = spec["jobTemplate"]["spec"]["template"]["spec"]
    return found


def environment(spec: dict[str, Any]) -> dict[str, str]:
    """The plain variables of a Pod's one container."""
    return {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"] if "value" in entry}


def sources(text: str) -> set[str]:
    """The templates that made something of a rendered text."""
    return set(re.findall(r"^# Source: recon3d/templates/(\S+)", text, re.MULTILINE))
