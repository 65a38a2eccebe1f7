"""Webhooks against a real HTTPS receiver: signed, repeated until taken, never to where they must not go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubecluster.client import eventually
from recon3d_operator.startup import WEBHOOK_RIGHTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KEY = b"k" * 32
VALUE = base64.b64encode(b"whsec_" + base64.b64encode(KEY)).decode()


class Receiver:
    """Answers with the given HTTP statuses in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self, certificate, key) -> None:
        self.answers: list[int] = [204]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = outer.answers[0] if len(outer.answers) == 1 else outer.answers.pop(0)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "https://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Tests read what was received instead."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver(plane) -> Iterator[Receiver]:
    made = Receiver(*plane.authority.issue("receiver", hosts=("localhost", "127.0.0.1")))
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def rights(admin):
    rules = [{"verbs": [verb], "apiGroups": [group], "resources": [name]} for verb, group, name, _ in WEBHOOK_RIGHTS]
    admin.ensure(f"{RBAC}/clusterroles", {"metadata": {"name": "webhooks"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "webhooks"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    body = {"metadata": {"name": "webhooks"}, "roleRef": role, "subjects": [subject]}
    admin.ensure(f"{RBAC}/clusterrolebindings", body)


@pytest.fixture
def start(plane, start_operator):
    def begin(**more: str):
        ca = str(plane.authority.folder / "ca.crt")
        settings = {"RECON3D_WEBHOOK_PRIVATE_HOSTS": "localhost", "RECON3D_WEBHOOK_BASE_S": "0.2", **more}
        return start_operator(RECON3D_WEBHOOKS="true", SSL_CERT_FILE=ca, **settings)

    return begin


@pytest.fixture
def place(admin, namespace) -> str:
    name = namespace()
    for secret, labels in (("hook", {"recon3d.io/allow": "webhook"}), ("foreign", {})):
        meta = {"name": secret, "labels": labels}
        admin.create(f"/api/v1/namespaces/{name}/secrets", {"metadata": meta, "data": {"secret": VALUE}})
    return name


def create(jobs, place: str, url: str, secret: str = "hook") -> None:
    jobs.create(place, "chair", webhook={"url": url, "secretRef": {"name": secret}})
    jobs.complete(place, "chair")


def state(jobs, place: str, *wanted: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found = jobs.status(place, "chair").get("webhook") or {}
        return found if found.get("state") in wanted or (not wanted and found.get("lastError")) else None

    return eventually(reached, seconds=30, what=f"the webhook is {wanted}") or {}


def test_the_end_of_a_job_is_told_and_signed(receiver, start, jobs, place):
    start()
    create(jobs, place, f"https://localhost:{receiver.port}/hook?x=1")
    told = state(jobs, place, "Delivered")
    assert (told["attempts"], told["lastStatus"]) == (1, 204)
    ((headers, body),) = receiver.requests
    identity, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    proof = hmac.new(KEY, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(proof).decode()}"
    message = json.loads(body)
    assert (message["type"], message["data"]["name"]) == ("job.completed", "chair")
    assert message["data"]["summary"]["verdict"] == "normal"
    status = jobs.status(place, "chair")
    assert status["phase"] == "Completed"
    assert status["summary"]["psnr"] == 31.5, "nothing else of the status is lost"


def test_it_is_repeated_with_the_same_id_until_it_is_taken(receiver, start, jobs, place):
    receiver.answers = [500, 302, 200]
    start(RECON3D_WEBHOOK_BASE_S="0.02")
    create(jobs, place, f"https://localhost:{receiver.port}/")
    assert state(jobs, place, "Delivered")["attempts"] == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 3, "a redirect is an answer, and is not followed"


def test_a_receiver_that_wants_no_more_gets_no_more(receiver, start, jobs, place):
    receiver.answers = [410]
    start()
    create(jobs, place, f"https://localhost:{receiver.port}/")
    assert state(jobs, place, "Disabled")["lastStatus"] == 410
    assert len(receiver.requests) == 1


def test_a_restart_goes_on_with_what_was_pending(receiver, start, jobs, place):
    receiver.answers = [503]
    first = start(RECON3D_WEBHOOK_BASE_S="3")
    create(jobs, place, f"https://localhost:{receiver.port}/")
    assert state(jobs, place)["state"] == "Pending"
    first.stop()
    receiver.answers = [204]
    start()
    assert state(jobs, place, "Delivered")["attempts"] == 2


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/", "https://169.254.169.254/latest", "https://10.96.0.1/"])
def test_private_addresses_are_refused(receiver, start, jobs, place, url):
    start(RECON3D_WEBHOOK_PRIVATE_HOSTS="elsewhere")
    create(jobs, place, url.format(port=receiver.port))
    assert "private or reserved" in state(jobs, place)["lastError"]
    assert receiver.requests == []


def test_a_name_that_leads_to_a_private_address_is_refused(receiver, start, jobs, place):
    start(RECON3D_WEBHOOK_PRIVATE_HOSTS="elsewhere")
    create(jobs, place, f"https://localhost:{receiver.port}/")
    assert "private or reserved" in state(jobs, place)["lastError"]
    assert receiver.requests == []


def test_a_foreign_secret_refuses_the_job_before_anything_runs(receiver, start, jobs, place):
    start()
    url = f"https://localhost:{receiver.port}/"
    jobs.create(place, "chair", webhook={"url": url, "secretRef": {"name": "foreign"}})
    status = jobs.wait(place, "chair", "Failed")
    assert status["error"]["details"]["problems"][0]["path"] == "webhook.secretRef"
    assert "recon3d.io/allow=webhook" in status["error"]["message"]
    assert status["error"]["suggestion"].startswith("Ask the owner")
    assert jobs.pods(place, "chair") == []
    assert "lacks the label" in state(jobs, place)["lastError"], "nor does it sign the message of the failure"
    assert receiver.requests == []


def test_a_secret_that_is_not_there_yet_warns_and_the_job_runs(admin, receiver, start, jobs, place):
    start()
    url = f"https://localhost:{receiver.port}/"
    jobs.create(place, "chair", webhook={"url": url, "secretRef": {"name": "later"}})
    jobs.run(place, "chair")
    (told,) = [c for c in jobs.wait(place, "chair", "Processing")["conditions"] if c["type"] == "WebhookReady"]
    assert (told["status"], told["reason"]) == ("False", "SecretMissing")
    meta = {"name": "later", "labels": {"recon3d.io/allow": "webhook"}}
    admin.create(f"/api/v1/namespaces/{place}/secrets", {"metadata": meta, "data": {"secret": VALUE}})
    jobs.complete(place, "chair")
    assert state(jobs, place, "Delivered")["attempts"] == 1


def test_a_label_taken_away_counts_at_delivery(admin, receiver, start, jobs, place):
    start()
    url = f"https://localhost:{receiver.port}/"
    jobs.create(place, "chair", webhook={"url": url, "secretRef": {"name": "hook"}})
    jobs.run(place, "chair")
    admin.merge(f"/api/v1/namespaces/{place}/secrets/hook", {"metadata": {"labels": {"recon3d.io/allow": None}}})
    jobs.complete(place, "chair")
    assert "lacks the label" in state(jobs, place)["lastError"]
    assert receiver.requests == []


def test_an_installation_without_webhooks_refuses_them(start_operator, jobs, place):
    start_operator()
    jobs.create(place, "chair", webhook={"url": "https://example.com/", "secretRef": {"name": "hook"}})
    assert jobs.wait(place, "chair", "Failed")["error"]["code"] == "INVALID_REQUEST"
