"""The job API's speed and safety on a real API server of this machine; the last line is one JSON object.

    python benchmarks/bench_api.py                        everything (about 5 minutes on two cores)
    python benchmarks/bench_api.py --only get --only sse  some parts: get, upload, download, list, sse, fuzz, kill

Ratios compare with the same work with nothing around it (api_bare.py), in the same run and with the same client: a
FastAPI route; asyncio between a socket and a file. All clients share the two cores with the service. Memory is the
peak of the service's resident set, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "cluster"))

from api_service import KEY, NAMESPACE, Service, noise_form, serving  # noqa: E402
from kubecluster.client import JOBS, Client, eventually  # noqa: E402
from kubecluster.control_plane import control_plane  # noqa: E402
from kubecluster.load import create_all, install  # noqa: E402
from kubecluster.process import Program, free_ports  # noqa: E402

Result = dict[str, float]
PARTS = ("get", "upload", "download", "sse", "kill", "fuzz", "list")
_LIST_JOBS = 10_000
_LISTENERS = 1_000
_UPLOADS = 16
_BIG = 500_000_000


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"[bench] {time.strftime('%H:%M:%S')} {text}", flush=True)


def load(kind: str, port: int, path: str, *rest: object) -> dict[str, Any]:
    """Run api_load.py; return what it prints."""
    command = [sys.executable, str(HERE / "api_load.py"), kind, "127.0.0.1", str(port), path, KEY, *map(str, rest)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@contextlib.contextmanager
def bare(kind: str, folder: Path, *rest: object) -> Iterator[int]:
    """Run api_bare.py; yield its port."""
    port = free_ports(1)[0]
    command = [sys.executable, HERE / "api_bare.py", kind, str(port), *map(str, rest)]
    program = Program("bare", command, folder / "bare.log")
    try:
        eventually(lambda: _listening(port), what="the comparison has started")
        yield port
    finally:
        program.stop(grace=2)


def _listening(port: int) -> bool:
    import socket

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def bench_get(service: Service, seconds: float = 6.0) -> Result:
    """One job, 64 connections."""
    job = service.submit()
    with bare("route", service.folder) as port:
        rates = []
        for _ in range(2):
            ours = load("get", service.port, f"/jobs/{job}", 64, seconds)
            theirs = load("get", port, f"/jobs/{job}", 64, seconds)
            assert not ours["wrong"], ours
            rates.append((ours["rps"], ours["p99_ms"], ours["rps"] / theirs["rps"]))
            say(f"get: {ours['rps']:.0f}/s, p99 {ours['p99_ms']:.1f} ms; a bare route: {theirs['rps']:.0f}/s")
    rps, p99, ratio = (statistics.mean(values) for values in zip(*rates, strict=True))
    return {"get_rps": round(rps), "get_p99_ms": round(p99, 1), "get_ratio": round(ratio, 2)}


def bench_upload(service: Service) -> Result:
    """Sixteen uploads of 200 MB at once."""
    body = service.folder / "form"
    noise_form(body, views=2560, depth=2560)
    say(f"upload: a body of {body.stat().st_size / 1e6:.1f} MB, {_UPLOADS} times at once")
    service.forget_peak()
    ours = load("upload", service.port, "/inputs", body, _UPLOADS)
    peak = service.peak_mib()
    assert ours["answers"] == ["HTTP/1.1 201 Created"], ours
    with bare("receive", service.folder, service.folder) as port:
        theirs = load("upload", port, "", body, _UPLOADS)
    say(f"upload: {ours['mb_per_s']:.0f} MB/s, peak {peak:.0f} MiB; a bare copy: {theirs['mb_per_s']:.0f} MB/s")
    body.unlink()
    return {"upload_memory_mib": round(peak), "upload_ratio": round(ours["mb_per_s"] / theirs["mb_per_s"], 2)}


def bench_download(service: Service) -> Result:
    """A result of 500 MB, four times in a row; memory is what it takes more than before."""
    job = service.submit()
    file = service.store_result(job, _BIG)
    path = f"/jobs/{job}/download"
    load("download", service.port, f"/jobs/{job}/files/result.json")
    before = service.forget_peak()
    cold = load("download", service.port, path)
    ours = [load("download", service.port, path)["mb_per_s"] for _ in range(3)]
    grown = service.peak_mib() - before
    assert cold["bytes"] > _BIG, cold
    with bare("send", service.folder, file) as port:
        theirs = [load("download", port, "")["mb_per_s"] for _ in range(3)]
    ratio = statistics.median(ours) / statistics.median(theirs)
    say(
        f"download: {statistics.median(ours):.0f} MB/s ({cold['mb_per_s']:.0f} the first time), {grown:.0f} MiB more; "
        f"a bare copy: {statistics.median(theirs):.0f} MB/s"
    )
    return {"download_memory_mib": round(grown), "download_ratio": round(ratio, 2)}


def bench_list(service: Service, admin: Client) -> Result:
    """All pages of 10,000 jobs, several times."""
    job = {
        "apiVersion": "recon3d.io/v1alpha1",
        "kind": "ReconstructionJob",
        "spec": {"input": {"builtin": "example"}},
    }
    annotations = {"recon3d.io/owner": "bench"}
    path = f"{JOBS}/namespaces/{NAMESPACE}/reconstructionjobs"
    bodies = [{**job, "metadata": {"name": f"j-{i}", "annotations": annotations}} for i in range(_LIST_JOBS)]
    create_all(service.kubeconfig, path, bodies, clients=16)
    del admin

    def known() -> bool:
        return any(f"recon3d_api_jobs_known {n}" in service.get("/metrics").text for n in _around(_LIST_JOBS))

    eventually(known, seconds=120, what="the shim knows all jobs")
    times: list[float] = []
    total = 0
    for round_ in range(4):
        cursor = None
        while True:
            started = time.perf_counter()
            page = service.get("/jobs", limit=100, **({"cursor": cursor} if cursor else {})).json()
            if round_:  # the first round makes each job's answer, which is kept
                times.append((time.perf_counter() - started) * 1e3)
            total += len(page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert total >= 4 * _LIST_JOBS, total
    p99 = statistics.quantiles(times, n=100)[98]
    say(f"list: {len(times)} pages of 100 of {total // 4} jobs, p99 {p99:.1f} ms")
    return {"list_p99_ms": round(p99, 1)}


def _around(count: int) -> Iterator[str]:
    for number in range(count, count + 500):
        yield f"{number}.0"


def bench_sse(service: Service, admin: Client) -> Result:
    """A thousand listeners of one job; from the change in the API server to the last of them."""
    job = service.submit()
    path = f"{JOBS}/namespaces/{NAMESPACE}/reconstructionjobs/{job}/status"
    service.forget_peak()
    command = [
        sys.executable, str(HERE / "api_load.py"), "listen", "127.0.0.1", str(service.port), f"/jobs/{job}/events",
        KEY, str(_LISTENERS),
    ]  # fmt: skip
    times: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listeners:
        assert listeners.stdout is not None
        json.loads(listeners.stdout.readline())
        for percent in (10, 20, 30, 40, 50):
            changed = time.time()
            admin.merge(path, {"status": {"phase": "Processing", "progress": {"percent": percent}}})
            told = json.loads(listeners.stdout.readline())
            assert told["progress"] == percent, told
            times.append(told["at"] - changed)
        peak = service.peak_mib()
        admin.merge(path, {"status": {"phase": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}})
        listeners.wait(30)
    say(f"sse: {_LISTENERS} listeners told within {max(times):.2f} s, peak {peak:.0f} MiB")
    return {"sse_s": round(max(times), 2), "sse_memory_mib": round(peak)}


def bench_fuzz(service: Service) -> Result:
    """Schemathesis over the OpenAPI document, with all its checks."""
    from api_fuzz import fuzz

    cases, failures, text = fuzz(service.url, KEY, service.folder)
    say(f"fuzz: {cases} cases, {failures} failures")
    if failures:
        print(text)
    return {"fuzz_cases": cases, "fuzz_failures": failures}


def bench_kill(service: Service, admin: Client) -> Result:
    """200 submissions, each repeated with its key until it is answered, while the service is killed at random."""
    from api_kills import kills

    found = kills(service, admin)
    say(f"kill: {found}")
    return found


def main() -> int:
    """Run the parts; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args()
    results: Result = {}
    with tempfile.TemporaryDirectory(prefix="recon3d-bench-api-") as name, control_plane(scheduler=False) as plane:
        admin = install(plane)
        admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        parts: dict[str, Callable[[Service], Result]] = {
            "get": bench_get,
            "upload": bench_upload,
            "download": bench_download,
            "sse": lambda service: bench_sse(service, admin),
            "kill": lambda service: bench_kill(service, admin),
            "fuzz": bench_fuzz,
            "list": lambda service: bench_list(service, admin),
        }
        for part in PARTS:
            if part in (options.only or PARTS):
                folder = Path(name) / part
                folder.mkdir()
                with serving(plane.kubeconfig, folder) as service:
                    results |= parts[part](service)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
