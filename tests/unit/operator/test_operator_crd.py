"""The CRD is what the types say, and never takes back what it once promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from recon3d_contract.crd import crd, to_yaml
from recon3d_contract.resource import OPERATOR_FIELDS, job_of
from recon3d_contract.spec import JobSpec

ROOT = Path(__file__).resolve().parents[3]


def schema() -> dict[str, Any]:
    return crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def test_the_committed_file_is_up_to_date():
    text = (ROOT / "crds" / "reconstructionjobs.yaml").read_text()
    assert text.partition("\n")[2] == to_yaml(crd()), "run `make crds`"
    assert yaml.safe_load(text) == crd()


def test_the_spec_is_the_contracts_job_and_the_operators_fields():
    properties = set(schema()["spec"]["properties"])
    assert properties == {info.alias for info in JobSpec.model_fields.values()} | OPERATOR_FIELDS


def walk(node: Any, path: str = "") -> Any:
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from walk(value, f"{path}.{key}")


def test_every_part_is_structural():
    for path, node in walk(schema()):
        if path.endswith((".properties", ".default")) or "x-kubernetes-int-or-string" in node:
            continue
        if "description" in node or "enum" in node:
            assert "type" in node, path
        assert not {"anyOf", "$ref", "const", "title"} & set(node), path


def test_no_default_hides_what_the_user_gave():
    """A profile decides by what was not given, so the schema must not give it."""
    spec = schema()["spec"]["properties"]
    assert spec["engine"]["default"] == "nvdiffrec"
    for name in ("nvdiffrec", "reconviagen", "mesh", "texture", "cameras", "depth", "quality"):
        assert all("default" not in node for _, node in walk(spec[name])), name


def test_a_path_of_one_machine_is_no_input():
    assert "path" not in schema()["spec"]["properties"]["input"]["properties"]


@pytest.mark.parametrize("name", sorted(OPERATOR_FIELDS))
def test_the_runner_never_sees_the_operators_fields(name):
    job = job_of({"input": {"builtin": "example"}, "seed": 7, name: {}})
    assert name not in job.to_json()
    assert job.seed == 7
