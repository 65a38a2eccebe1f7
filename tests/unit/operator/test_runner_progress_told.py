"""Progress from runners: who may tell it, what is refused, and how it reaches the status."""

from __future__ import annotations

import base64
import json

import pytest
from recon3d_operator.progress import Progress, RefusedError


def token(uid: str, end: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"{uid}.{claims}.signature"


class Told:
    """A progress endpoint whose TokenReview believes what a token says."""

    def __init__(self, world) -> None:
        self.world, self.reviews = world, 0
        self.progress = Progress(self.review, lambda: world.cluster.now)
        self.progress.controller = world.controller

    async def review(self, text: str):
        self.reviews += 1
        uid = text.split(".", maxsplit=1)[0]
        if uid == "nobody":
            return {"authenticated": False}
        return {"authenticated": True, "user": {"extra": {"authentication.kubernetes.io/pod-uid": [uid]}}}

    def tell(self, name, *, pod=-1, gap=10.0, **message):
        self.world.cluster.now += gap
        uid = self.world.pods(name)[pod]["metadata"]["uid"]
        body = {"jobUid": self.world.uid(name), "attempt": 1, "stage": "geometry", "percent": 10.0, **message}
        header = f"Bearer {token(uid, self.world.cluster.now + 3600)}"
        self.world.loop.run_until_complete(self.progress.take(header, json.dumps(body).encode()))
        self.world.work()

    def refused(self, name="chair", **message) -> int:
        with pytest.raises(RefusedError) as caught:
            self.tell(name, **message)
        return caught.value.status

    def raw(self, header: str, body: bytes) -> int:
        with pytest.raises(RefusedError) as caught:
            self.world.loop.run_until_complete(self.progress.take(header, body))
        return caught.value.status


@pytest.fixture
def told(world):
    world.submit("chair")
    world.run("chair")
    return Told(world)


def test_it_reaches_the_status(told, world):
    told.tell("chair", percent=42.7, engine="nvdiffrec", etaSeconds=61.5)
    progress = world.status("chair")["progress"]
    assert {key: progress[key] for key in ("percent", "stage", "engine", "etaSeconds")} == {
        "percent": 42, "stage": "geometry", "engine": "nvdiffrec", "etaSeconds": 61
    }  # fmt: skip
    assert "attempt" not in progress


def test_percent_never_falls_within_an_attempt(told, world):
    told.tell("chair", percent=42)
    told.tell("chair", percent=30, stage="texture")
    assert world.status("chair")["progress"]["percent"] == 42
    assert world.status("chair")["progress"]["stage"] == "texture"


def test_percent_does_not_fall_after_a_restart_either(told, world):
    told.tell("chair", percent=42)
    world.start()
    told.progress.controller = world.controller
    told.tell("chair", percent=30)
    assert world.status("chair")["progress"]["percent"] == 42


def test_it_is_written_at_most_every_five_seconds(told, world):
    told.tell("chair", percent=1)
    before = world.cluster.calls.count("write_status")
    for percent in range(2, 12):
        told.tell("chair", percent=percent, gap=1.0)
    assert world.cluster.calls.count("write_status") - before <= 3
    world.advance(5)
    assert world.status("chair")["progress"]["percent"] == 11


def test_a_token_is_reviewed_once(told):
    uid = told.world.pods("chair")[0]["metadata"]["uid"]
    header = f"Bearer {token(uid, told.world.cluster.now + 3600)}"
    body = json.dumps({"jobUid": told.world.uid("chair"), "percent": 1}).encode()
    for _ in range(3):
        told.world.cluster.now += 1
        told.world.loop.run_until_complete(told.progress.take(header, body))
    assert told.reviews == 1


def test_who_may_not_tell(told, world):
    assert told.raw("", b"{}") == 401
    assert told.raw("Basic x", b"{}") == 401
    assert told.raw("Bearer nobody.x.y", b"{}") == 401
    world.cluster.now += 1
    unknown = f"Bearer {token('some-other-pod', world.cluster.now + 60)}"
    assert told.raw(unknown, b'{"jobUid": "x", "percent": 1}') == 403
    assert told.refused(jobUid="another-job") == 403


def test_an_earlier_attempt_may_not_tell(told, world):
    world.report("chair", {"phase": "Failed", "reason": "Evicted"})
    world.cluster.settle()
    world.advance(60)
    world.run("chair")
    assert told.refused(pod=0) == 403
    told.tell("chair", percent=5)
    assert world.status("chair")["progress"]["percent"] == 5


@pytest.mark.parametrize(
    "message",
    [{"percent": "9"}, {"percent": 101}, {"percent": -1}, {"percent": True}, {"percent": None}, {"stage": "x"},
     {"engine": "x"}, {"etaSeconds": "1"}],
)  # fmt: skip
def test_what_is_no_progress(told, message):
    assert told.refused(**message) == 400


def test_too_long_and_too_many(told):
    assert told.raw("Bearer a", b" " * 9000) == 413
    told.tell("chair", percent=1)
    assert told.refused(percent=2, gap=0.1) == 429


def test_a_standby_answers_503(told):
    told.progress.controller = None
    assert told.refused() == 503
