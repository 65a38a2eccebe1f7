"""Submissions to a service that is killed at random: what is there twice, what is lost, what is left over."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from api_service import KEY, NAMESPACE, Service, png
from kubecluster.client import JOBS, Client
from recon3d_contract.conventions import VIEWS

_CLIENTS = 8
_PAUSE_S = 0.25
_ANSWERS = (1, 12)  # in one life of the service


def kills(service: Service, admin: Client, count: int = 200) -> dict[str, float]:
    """Return twins, lost, orphans, and how often it was killed. The seed of a job says which submission it is."""
    path = f"{JOBS}/namespaces/{NAMESPACE}/reconstructionjobs"
    others = {job["metadata"]["name"] for job in admin.items(path)}
    chance = random.Random(5)
    left: queue.Queue[int] = queue.Queue()
    for number in range(count):
        left.put(number)
    told: dict[int, str] = {}
    over = threading.Event()
    clients = [threading.Thread(target=_submit_all, args=(service.url, left, told)) for _ in range(_CLIENTS)]
    killed = [0]
    for thread in clients:
        thread.start()
    waiting = threading.Thread(target=lambda: ([thread.join() for thread in clients], over.set()))
    waiting.start()
    _kill(service, chance, over, killed, told)  # here: a child process ends with the thread that started it
    waiting.join()
    service.wait()
    jobs = [job for job in admin.items(path) if job["metadata"]["name"] not in others]
    seeds = Counter(job["spec"]["seed"] for job in jobs)
    twins = sum(number - 1 for number in seeds.values())
    names = {job["metadata"]["name"]: job for job in jobs}
    lost = [number for number in range(count) if not _is_there(service, names.get(told.get(number, "")), number)]
    swept = _sweep(service)
    named = {str(job["spec"]["input"].get("upload")) for job in jobs}
    orphans = [path.name for path in (service.store / "inputs").iterdir() if path.name not in named]
    return {
        "kills": killed[0],
        "kill_twins": twins,
        "kill_lost": len(lost),
        "kill_orphans": len(orphans),
        "kill_swept": sum(swept.values()),
    }


def _submit_all(url: str, left: queue.Queue[int], told: dict[int, str]) -> None:
    with httpx.Client(timeout=20) as client:  # making one costs more than a request
        while True:
            try:
                number = left.get_nowait()
            except queue.Empty:
                return
            told[number] = _submit(client, url, number)


def _submit(client: httpx.Client, url: str, number: int) -> str:
    """Send one submission until it is answered; return the job's id."""
    body = png(256, 8, 2, bytes((number, 255 - number % 256, 7)) * 256)
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": f"kill-{number}"}
    while True:
        try:
            answer = client.post(
                f"{url}/jobs",
                files=[("files[]", (f"multi_views/{view}.png", body, "image/png")) for view in VIEWS],
                data={"seed": str(number)},
                headers=headers,
            )
            if answer.status_code == 202:
                return str(answer.json()["id"])
            assert answer.status_code in (409, 503), answer.text
        except httpx.TransportError:
            pass
        time.sleep(_PAUSE_S)


def _kill(
    service: Service, chance: random.Random, over: threading.Event, killed: list[int], told: dict[int, str]
) -> None:
    """Kill it a moment after it has answered some more: a fast machine is not killed less often than a slow one."""
    while not over.is_set():
        service.wait()
        enough = len(told) + chance.randint(*_ANSWERS)
        while len(told) < enough and not over.wait(0.005):
            pass
        if over.wait(chance.uniform(0.0, 0.05)):
            return
        service.program.stop(signal.SIGKILL)
        killed[0] += 1
        service.start()


def _is_there(service: Service, job: dict[str, Any] | None, number: int) -> bool:
    if job is None or job["spec"]["seed"] != number:
        return False
    folder = service.store / "inputs" / job["spec"]["input"]["upload"] / "multi_views"
    return len(list(folder.glob("*.png"))) == len(VIEWS)


def _sweep(service: Service) -> dict[str, int]:
    ages = {"RECON3D_SWEEP_JOB_AGE_S": "0", "RECON3D_SWEEP_UPLOAD_AGE_S": "0"}
    command = [str(Path(sys.executable).parent / "recon3d-api"), "sweep"]
    done = subprocess.run(
        command, env={**os.environ, **service.env, **ages}, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))
