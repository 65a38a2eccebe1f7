"""`recon3d-runner job`, the Pod's way in: environment, store, progress over HTTPS, termination message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_helpers import SmallDisk, alive, stop_and_time, wait_until
from runner_pods import UID, Pod


def test_an_attempt_is_stored_published_and_reported(pod: Pod) -> None:
    done = pod.run(RECON3D_IMAGE_DIGEST="sha256:abc")
    assert done.returncode == 0, done.stderr
    message, result = pod.message(), pod.result(1)
    assert (message.status, message.verdict, message.psnr) == ("completed", "normal", 30.0)
    assert (message.job_uid, message.attempt) == (UID, 1)
    assert message == result.to_summary(message.result_sha256)
    assert pod.store.published(UID) == 1
    with pod.store.open(UID, 1, "result.json") as file:
        assert message.result_sha256 == hashlib.sha256(file.read()).hexdigest()
    stored = {file.path: file.bytes for file in pod.store.files(UID, 1)}
    assert all(stored[artifact.path] == artifact.bytes for artifact in result.artifacts)
    assert {"result.json", "run.log"} <= stored.keys()
    assert result.provenance.image_digest == "sha256:abc"
    assert pod.leftovers() == []
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "result"


def test_a_second_attempt_of_a_published_job_computes_nothing(pod: Pod) -> None:
    pod.run()
    first = pod.message()
    (pod.folder / "notes" / "began-nvdiffrec").unlink()
    done = pod.run(attempt=2)
    assert done.returncode == 0
    assert pod.message() == first
    assert not (pod.folder / "notes" / "began-nvdiffrec").exists()
    assert pod.store.attempts(UID) == [1]


def test_an_attempt_killed_before_it_was_published_is_published_by_its_restart(pod: Pod) -> None:
    pod.run()
    (pod.folder / "store" / "jobs" / UID / "current").unlink()
    (pod.folder / "notes" / "began-nvdiffrec").unlink()
    assert pod.run().returncode == 0
    assert pod.store.published(UID) == 1
    assert not (pod.folder / "notes" / "began-nvdiffrec").exists()


def test_another_job_of_the_same_uid_is_refused(pod: Pod) -> None:
    pod.run()
    pod.spec["seed"] = 8
    assert pod.run(attempt=2).returncode == 32
    error = pod.message().error
    assert error is not None
    assert error.code.value == "JOB_ALREADY_FINISHED"


@pytest.mark.parametrize(
    ("mode", "exit_code", "published"),
    [("poor", 42, 1), ("raise:coded", 17, 1), ("raise:memory", 53, 1), ("signal:11", 1, 1), ("raise:full", 54, None)],
)
def test_only_a_failure_that_no_attempt_can_mend_is_published(
    pod: Pod, mode: str, exit_code: int, published: int | None
) -> None:
    assert pod.run(mode=mode).returncode == exit_code
    assert pod.store.attempts(UID) == [1]
    assert pod.store.published(UID) == published
    assert pod.message().status == "failed"
    # A published failure is what a second attempt reports, with its exit code; else it computes.
    again = pod.run(attempt=2, mode="good")
    assert again.returncode == (exit_code if published else 0)


def test_of_two_attempts_at_once_one_is_published_and_both_report_it(pod: Pod) -> None:
    first = pod.start(attempt=1, mode="slow:1.0")
    wait_until((pod.folder / "notes" / "began-nvdiffrec").exists, "the first attempt's start")
    assert pod.runner.run(*pod.arguments, environment=pod.environment(2)).returncode == 0
    first.wait(timeout=60)
    assert first.returncode == 0
    assert pod.store.published(UID) == 2
    assert pod.message().attempt == 2


def test_a_signal_cancels_and_publishes_nothing(pod: Pod) -> None:
    process = pod.start(mode="hang:geometry")
    engine = pod.runner.note("hangs")
    assert stop_and_time(process) < 2.0
    assert process.returncode == 34
    message = pod.message()
    assert message.status == "cancelled"
    assert message.error is not None
    assert message.error.code.value == "CANCELLED"
    assert pod.store.published(UID) is None
    assert pod.leftovers() == []
    wait_until(lambda: not alive(engine["pid"]), "the engine's end")
    assert pod.run(attempt=2).returncode == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"RECON3D_JOB": ""}, "RECON3D_JOB"),
        ({"RECON3D_JOB_UID": ""}, "RECON3D_JOB_UID"),
        ({"RECON3D_ATTEMPT": "first"}, "RECON3D_ATTEMPT"),
        ({"RECON3D_JOB": '{"profil": "fast"}'}, "profil"),
        ({"RECON3D_JOB_UID": "../../etc"}, "uid"),
        ({"RECON3D_PROGRESS_URL": "http://example.com/"}, "https"),
        ({"RECON3D_ACCEPT_LICENCES": "everything"}, "RECON3D_ACCEPT_LICENCES"),
    ],
)
def test_a_wrong_environment_is_told_in_the_termination_message(pod: Pod, changes: dict[str, str], named: str) -> None:
    assert pod.run(**changes).returncode == 2
    error = pod.message().error
    assert error is not None
    assert error.code.value == "INVALID_REQUEST"
    assert named in error.message
    assert not (pod.folder / "store").exists()


@pytest.mark.parametrize("device", ["auto", ""])
def test_a_cluster_must_say_which_device(pod: Pod, device: str) -> None:
    arguments = pod.arguments[:-2] + (("--device", device) if device else ())
    done = pod.runner.run(*arguments, environment=pod.environment())
    assert done.returncode == 2
    assert "cuda or cpu" in (pod.folder / "termination-log").read_text()


def test_a_store_that_fills_up_is_told_and_published_nothing(pod: Pod, small_disk: SmallDisk) -> None:
    small_disk(pod.folder / "store", "80m")
    assert pod.run(mode="fill").returncode == 54
    error = pod.message().error
    assert error is not None
    assert error.code.value == "STORAGE_FULL"
    assert pod.store.published(UID) is None
    assert pod.run(attempt=2).returncode == 0


def test_a_store_without_room_for_a_result_is_told_before_anything_is_computed(pod: Pod, small_disk: SmallDisk) -> None:
    small_disk(pod.folder / "store", "60m")
    assert pod.run(mode="fill").returncode == 54
    error = pod.message().error
    assert error is not None
    assert error.code.value == "STORAGE_FULL"
    assert error.details["free_bytes"] < error.details["needed_bytes"]
    assert list((pod.folder / "store").rglob(".*.partial")) == []
    assert not (pod.folder / "notes" / "began-nvdiffrec").exists()


def test_an_input_on_the_network_needs_an_allowed_host(pod: Pod) -> None:
    address = "https://127.0.0.1:9/a.zip#sha256=" + "0" * 64
    arguments = ("job", "--input", address, "--output", str(pod.folder / "store"), "--device", "cpu")
    done = pod.runner.run(*arguments, environment=pod.environment())
    assert done.returncode == 19
    assert "INPUT_NOT_ALLOWED" in (pod.folder / "termination-log").read_text()


def test_a_signal_ends_a_fetch_from_a_server_that_never_answers(pod: Pod, progress_server: Callable[..., Any]) -> None:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        address = f"https://127.0.0.1:{port}/a.zip#sha256=" + "0" * 64
        arguments = ("job", "--input", address, "--output", str(pod.folder / "store"), "--device", "cpu")
        environment = {
            **pod.environment(),
            "RECON3D_INPUT_HOSTS": f"127.0.0.1:{port}",
            "RECON3D_INPUT_PRIVATE_ADDRESSES": "true",
        }
        process = pod.runner.start(*arguments, environment=environment)
        listening.settimeout(20)
        connection, _ = listening.accept()
        with connection:
            assert stop_and_time(process) < 2.0
            assert process.returncode == 34


def test_a_machine_without_a_termination_log_is_fine(pod: Pod) -> None:
    environment = pod.environment()
    environment["RECON3D_TERMINATION_LOG"] = str(pod.folder / "no" / "such" / "folder")
    done = pod.runner.run(*pod.arguments, environment=environment)
    assert done.returncode == 0
    assert "termination message cannot be written" in done.stderr


def test_references_may_be_relative(pod: Pod) -> None:
    arguments = ("job", "--input", "source", "--output", "store", "--device", "cpu")
    environment = pod.environment(RECON3D_SCRATCH="scratch")
    done = pod.runner.run(*arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    request = pod.runner.note("began-nvdiffrec")["request"]
    assert all(Path(request[name]).is_absolute() for name in ("input_dir", "out_dir"))
    assert pod.store.published(UID) == 1
