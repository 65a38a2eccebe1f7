"""What a client sends becomes a job's spec, or one error with everything wrong."""

from __future__ import annotations

import pytest
from recon3d_api.jobs.spec import spec_of, spec_of_form
from recon3d_api.settings import Settings
from recon3d_contract.errors import Recon3dError

SETTINGS = Settings(
    store="/store", id_secret="x" * 16, input_hosts=("files.example",), input_s3=("s3://scans/public/",),
    webhook_secret="hooks/key",
)  # fmt: skip
EXAMPLE = {"input": {"builtin": "example"}}


def test_a_form_and_json_make_the_same_spec():
    form = {"model_type": "both", "seed": "7", "priority": "5", "cameras.fov_deg": "40", "quality": '{"iou": 0.9}'}
    body = {"engine": "both", "seed": 7, "priority": 5, "parameters": {"cameras": {"fovDeg": 40}, "quality.iou": 0.9}}
    made = spec_of_form(form, "a" * 32, SETTINGS)
    assert made == spec_of({**body, "input": {"upload": "a" * 32}}, None, SETTINGS)
    assert made["cameras"] == {"fovDeg": 40}


def test_what_is_not_given_is_not_in_the_spec():
    assert spec_of(EXAMPLE, None, SETTINGS) == EXAMPLE


def test_a_webhook_is_signed_with_the_installations_secret():
    made = spec_of({**EXAMPLE, "webhook": "https://me.example/hook"}, None, SETTINGS)
    assert made["webhook"] == {"url": "https://me.example/hook", "secretRef": {"name": "hooks", "key": "key"}}
    for webhook in ({"url": "https://me.example/h", "secretRef": {"name": "theirs"}}, "http://me.example", {}, 3):
        with pytest.raises(Recon3dError, match="webhook"):
            spec_of({**EXAMPLE, "webhook": webhook}, None, SETTINGS)
    with pytest.raises(Recon3dError, match="not set up"):
        spec_of({**EXAMPLE, "webhook": "https://me.example"}, None, Settings(store="/s", id_secret="x" * 16))


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ({"url": "https://files.example/a.zip", "sha256": "0" * 64}, True),
        ({"url": "https://files.example.evil.com/a.zip", "sha256": "0" * 64}, False),
        ({"url": "https://files.example:8443/a.zip", "sha256": "0" * 64}, False),
        ({"s3": "s3://scans/public/chair.zip"}, True),
        ({"s3": "s3://scans/public/../private/chair.zip"}, False),
        ({"s3": "s3://scans/publicity/chair.zip"}, False),
        ({"s3": "s3://store/jobs/uid/attempts/1"}, False),
        ({"pvc": {"claimName": "c"}}, False),
    ],
)
def test_sources_are_those_that_the_installation_allows(source, fine):
    if fine:
        assert spec_of({"input": source}, None, SETTINGS)["input"] == source
    else:
        with pytest.raises(Recon3dError) as error:
            spec_of({"input": source}, None, SETTINGS)
        assert error.value.code == "INPUT_NOT_ALLOWED"


@pytest.mark.parametrize(
    "body",
    [
        {**EXAMPLE, "pod": {"nodeSelector": {"a": "b"}}}, {**EXAMPLE, "cancel": {"request": "a"}},
        {**EXAMPLE, "output": {"ref": "s3://else/where"}}, {**EXAMPLE, "queueName": "q"}, {**EXAMPLE, "priority": 5000},
        {**EXAMPLE, "parameters": {"output": {"ref": "/etc"}}}, {**EXAMPLE, "parameters": {"pod": {}}}, {},
        {**EXAMPLE, "parameters": []}, {**EXAMPLE, "engine": "both", "model_type": "nvdiffrec", "nonsense": 1},
    ],
)  # fmt: skip
def test_everything_else_is_refused(body):
    with pytest.raises(Recon3dError) as error:
        spec_of(body, None, SETTINGS)
    assert error.value.code == "INVALID_REQUEST"
    assert error.value.details["problems"]
