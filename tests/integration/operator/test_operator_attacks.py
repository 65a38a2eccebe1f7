"""Jobs that name what they must not reach, through the real API server: told at once, before any Pod exists.

What a name leads to is checked where it is resolved, in the runner: tests/integration/runner/test_runner_attacks.py.
"""

from __future__ import annotations

import pytest
from kubecluster.client import Refused

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
LISTED = "files.example,10.96.0.1,169.254.169.254,[::ffff:169.254.169.254]"


@pytest.fixture
def place(namespace, start_operator) -> str:
    start_operator(RECON3D_INPUT_HOSTS=LISTED)
    return str(namespace())


def source(url: str) -> dict[str, str]:
    return {"url": url, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data/iam.zip",
        "https://10.96.0.1/api/v1/secrets",
        "https://[::ffff:169.254.169.254]/a.zip",
        "https://kubernetes.default.svc/api",
        "https://files.example:6443/a.zip",
        "https://files.example.evil.example/a.zip",
    ],
)
def test_an_input_that_may_not_be_fetched_fails_the_job_with_advice(jobs, place, url):
    jobs.create(place, "spy", input=source(url))
    status = jobs.wait(place, "spy", "Failed")
    (accepted,) = [each for each in status["conditions"] if each["type"] == "Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "InputNotAllowed")
    assert status["error"]["code"] == "INPUT_NOT_ALLOWED"
    assert "host that the installation allows" in status["error"]["suggestion"]
    assert jobs.pods(place) == []


def test_a_listed_host_goes_to_the_runner_with_the_list(jobs, place):
    jobs.create(place, "chair", input=source("https://files.example/a.zip"))
    pod = jobs.pod(place, "chair")
    environment = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert environment["RECON3D_INPUT"] == f"https://files.example/a.zip#sha256={'0' * 64}"
    assert environment["RECON3D_INPUT_HOSTS"] == LISTED
    assert "RECON3D_INPUT_PRIVATE_ADDRESSES" not in environment, "names that lead inside stay refused there"


@pytest.mark.parametrize("url", ["http://files.example/a.zip", "https://u:p@files.example/a.zip", "file:///etc/passwd"])
def test_what_is_not_plain_https_is_refused_by_the_api_server(jobs, place, url):
    with pytest.raises(Refused) as refused:
        jobs.create(place, "spy", input=source(url))
    assert refused.value.status == 422
    assert "spec.input.url" in str(refused.value)


def test_a_path_of_the_node_is_no_input(jobs, place):
    with pytest.raises(Refused) as refused:
        jobs.create(place, "spy", input={"builtin": None, "path": "/var/run/secrets"})
    assert refused.value.status in (400, 422)
