"""Progress over HTTP, as a Pod posts it: rare, authenticated, and never a reason to fail."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from runner_helpers import stop_and_time, wait_until
from runner_pods import UID, Pod


def credentials(pod: Pod, server: Any, token: str = "token-one") -> dict[str, str]:
    (pod.folder / "token").write_text(token + "\n")
    return {
        "RECON3D_PROGRESS_URL": server.url,
        "RECON3D_TOKEN": str(pod.folder / "token"),
        "RECON3D_CA": str(server.ca),
    }


def test_progress_is_posted_rarely_with_the_token_of_the_moment(
    pod: Pod, progress_server: Callable[[str], Any]
) -> None:
    server = progress_server("good")
    process = pod.start(mode="slow:2.2", **credentials(pod, server))
    wait_until(lambda: bool(server.posts), "the first post")
    (pod.folder / "token").write_text("token-two")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    times = [when for when, *_ in server.posts]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    # Only the farewell may come sooner than the others.
    assert all(gap > 1.9 for gap in gaps[:-1])
    assert 3 <= len(times) <= 6
    assert server.posts[0][1] == "Bearer token-one"
    assert server.posts[-1][1] == "Bearer token-two"
    bodies = [body for _, _, body, _ in server.posts]
    assert all(body["jobUid"] == UID and body["attempt"] == 1 for body in bodies)
    percents = [body["percent"] for body in bodies]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0
    assert max(size for *_, size in server.posts) < 1024
    assert "token-" not in out + err + (pod.folder / "termination-log").read_text()


@pytest.mark.parametrize("behaviour", ["slow", "drip", "refuse", "redirect", "garbage", "hangup"])
def test_a_bad_progress_server_neither_fails_nor_delays_a_job(
    pod: Pod, progress_server: Callable[[str], Any], behaviour: str
) -> None:
    server = progress_server(behaviour)
    begun = time.monotonic()
    done = pod.run(mode="slow:0.2", **credentials(pod, server))
    assert done.returncode == 0
    assert time.monotonic() - begun < 12
    assert pod.message().status == "completed"
    assert len(server.posts) >= 1
    assert "elsewhere" not in done.stderr
    if behaviour in ("refuse", "redirect", "garbage", "hangup"):
        assert done.stderr.count("progress: ") == 1


def test_a_server_with_another_certificate_gets_no_token(pod: Pod, progress_server: Callable[[str], Any]) -> None:
    server = progress_server("good")
    environment = credentials(pod, server)
    del environment["RECON3D_CA"]
    done = pod.run(mode="slow:0.2", **environment)
    assert done.returncode == 0
    assert server.posts == []
    assert "certificate is not trusted" in done.stderr


def test_no_server_at_all_and_no_token_file_are_no_failure(pod: Pod, progress_server: Callable[[str], Any]) -> None:
    server = progress_server("good")
    environment = credentials(pod, server)
    (pod.folder / "token").unlink()
    assert pod.run(**environment).returncode == 0
    assert server.posts == []
    nobody = {**environment, "RECON3D_PROGRESS_URL": "https://127.0.0.1:1/progress", "RECON3D_JOB_UID": "other"}
    assert pod.run(**nobody).returncode == 0


def test_a_cancellation_does_not_wait_for_a_slow_server(pod: Pod, progress_server: Callable[[str], Any]) -> None:
    server = progress_server("slow")
    process = pod.start(mode="hang:geometry", **credentials(pod, server))
    pod.runner.note("hangs")
    assert stop_and_time(process) < 2.0
    assert process.returncode == 34
    assert pod.message().status == "cancelled"
    assert threading.active_count() < 20
