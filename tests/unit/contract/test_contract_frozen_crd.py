"""The definition keeps the promise of its first version: what was accepted then is accepted now."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from recon3d_contract.crd import crd
from recon3d_contract.crd_compat import breaks

FROZEN = sorted((Path(__file__).resolve().parents[3] / "crds" / "frozen").glob("*.yaml"))


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.stem)
def test_nothing_of_a_released_version_is_broken(path: Path) -> None:
    assert breaks(yaml.safe_load(path.read_text()), crd()) == []


def test_there_is_a_frozen_version() -> None:
    assert [path.stem for path in FROZEN] == ["v1alpha1"]


def spec(definition: dict[str, Any]) -> dict[str, Any]:
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: spec(d)["properties"].pop("seed"), ".spec.seed: is gone"),
        (lambda d: spec(d)["properties"]["engine"]["enum"].remove("both"), ".spec.engine: the enum has lost both"),
        (lambda d: spec(d).update(required=["input", "seed"]), ".spec: seed is newly required"),
        (lambda d: spec(d)["properties"]["seed"].update(type="string"), "the type was integer and is string"),
        (lambda d: spec(d)["properties"]["seed"].update(maximum=7), ".spec.seed: maximum is stricter"),
        (lambda d: spec(d)["properties"]["priority"].update(minimum=0), ".spec.priority: minimum is stricter"),
        (lambda d: spec(d)["properties"]["profile"].update(default="fast"), ".spec.profile: the default was"),
        (
            lambda d: spec(d)["properties"]["queueName"].update(pattern="^x$"),
            "queueName: the pattern has changed",
        ),
        (
            lambda d: spec(d)["properties"]["suspend"].update(enum=[True]),
            "suspend: the enum has lost free choice",
        ),
        (
            lambda d: d["spec"]["versions"][0]["additionalPrinterColumns"].pop(0),
            "Columns: Phase is gone",
        ),
        (lambda d: d["spec"]["versions"][0].update(served=False), "v1alpha1: is no longer served"),
        (
            lambda d: spec(d)["properties"]["pod"]["properties"]["tolerations"]["items"]["properties"].pop("key"),
            ".spec.pod.tolerations[].key: is gone",
        ),
    ],
)
def test_a_break_is_found_and_named(change: Callable[[dict[str, Any]], Any], told: str) -> None:
    broken = copy.deepcopy(crd())
    change(broken)
    found = breaks(crd(), broken)
    assert any(told in line for line in found), found


def test_what_is_added_breaks_nothing() -> None:
    more = copy.deepcopy(crd())
    spec(more)["properties"]["more"] = {"type": "string"}
    spec(more)["properties"]["engine"]["enum"].append("third")
    spec(more)["properties"]["seed"]["maximum"] += 1
    assert breaks(crd(), more) == []
