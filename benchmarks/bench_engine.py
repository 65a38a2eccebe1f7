"""Runs the engine on cases with a known truth and prints how far from it the results are.

    make bench-engine [CASES="dir ..."] [PROFILE=standard] [DEVICE=auto] [ARGS="--write"]

A case is a folder with input/ (what the runner gets) and truth/ (see examples/make_input.py). Each is run as a user
would, in a process of its own; the GLB is then scored by another program (benchmarks/score.py, or SCORER), which
runs in Blender's environment. One row a case, then the mean and the worst; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recon3d_runner.engines.device import cpu_name
from tables import calibration_errors, markdown, mean_row, text_table, worst_row

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recon3d"


def find_cases(given: list[Path]) -> list[Path]:
    """The case folders: those given, else the ones beside the checkout and those that `make cases` made."""
    if given:
        missing = [str(case) for case in given if not is_case(case)]
        if missing:
            sys.exit(f"no case with input/ and truth/cameras.json: {', '.join(missing)}")
        return given
    places = [SHARED / "cases", CACHE / "cases"]
    return [case for place in places if place.is_dir() for case in sorted(place.iterdir()) if is_case(case)]


def is_case(folder: Path) -> bool:
    """Whether the folder holds an input and its truth."""
    return (folder / "input/multi_views").is_dir() and (folder / "truth/cameras.json").is_file()


def scorer() -> Path:
    """The program that judges: SCORER, the one beside the checkout, or the project's own."""
    for candidate in (os.environ.get("SCORER"), SHARED / "bench/score.py"):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return ROOT / "benchmarks/score.py"


def run_engine(case: Path, out: Path, a: argparse.Namespace) -> dict[str, Any]:
    """One run of the command line: seconds, peak memory of its largest process, what its files say."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / "recon3d-runner"
    command = [str(program), "run", str(case / "input"), "--out", str(out), "--json"]
    command += ["--profile", a.profile, "--device", a.device, "--seed", str(a.seed), *a.runner_args]
    started = time.monotonic()
    with (out.parent / f"{out.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            # The usage of a process and all that it waited for: the supervisor and its engine.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    row: dict[str, Any] = {
        "case": case.name,
        "seconds": round(time.monotonic() - started, 1),
        "rss_mb": round(usage.ru_maxrss / 1024),
        "exit": process.returncode,
    }
    result, quality = _json(out / "result.json"), _json(out / "nvdiffrec/quality.json")
    row["verdict"] = result.get("verdict")
    row["error"] = (result.get("error") or {}).get("code")
    entry = (result.get("engines") or {}).get("nvdiffrec") or {}
    row["stage_seconds"] = entry.get("stage_seconds")
    if quality:
        row["input_psnr"] = quality["means"]["psnr_foreground"]
        row["input_ssim"] = quality["means"]["ssim_foreground"]
        row["loo"] = quality["leave_one_out"]["mean"]
        row["self_int"] = quality["mesh"]["self_intersections"]
        row["unseen"] = quality["mesh"]["unseen_texel_share"]
        row["confidence"] = quality["calibration"]["confidence"]
        row.update(calibration_errors(_json(case / "truth/cameras.json"), quality["calibration"]))
    return row


def score(case: Path, out: Path, a: argparse.Namespace) -> dict[str, Any]:
    """What the scorer says of the run's GLB; empty where there is none, `score_error` where it fails."""
    mesh = out / "nvdiffrec/mesh.glb"
    if not mesh.is_file():
        return {}
    command = [str(a.blender_python), str(scorer()), str(mesh), str(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"score_error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    marks: dict[str, Any] = json.loads(lines[-1])
    truth = _json(case / "truth/cameras.json")
    marks["genus_ok"] = None if "genus" not in truth else marks.get("genus") == truth["genus"]
    return marks


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def main() -> int:
    """Run the benchmark; 1 when a case made no mesh."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", type=Path, nargs="*", action="extend", default=[])
    parser.add_argument("--profile", default="standard", choices=("fast", "standard", "high"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench")
    parser.add_argument("--blender-python", type=Path, default=CACHE / "blender/bin/python")
    parser.add_argument("--no-score", action="store_true", help="only what the runner says of itself")
    parser.add_argument("--write", action="store_true", help="also write the table to benchmarks/results/")
    parser.add_argument("runner_args", nargs="*", help="after --: more options for recon3d-runner run")
    a = parser.parse_args()
    cases = find_cases(a.case)
    if not cases:
        sys.exit("no case found: run `make cases`, or give CASES=dir")
    rows = []
    for case in cases:
        out = a.out / a.profile / case.name
        row = run_engine(case, out, a)
        if not a.no_score:
            row.update(score(case, out, a))
        rows.append(row)
        state = row["verdict"] or row["error"] or f"exit {row['exit']}"
        print(f"[bench] {case.name}: {state} in {row['seconds']} s", flush=True)
    mean, worst = mean_row(rows), worst_row(rows)
    machine = f"{os.cpu_count()} cores, {cpu_name()}, {datetime.now(timezone.utc).date()}"
    heading = f"nvdiffrec, profile {a.profile}, device {a.device}, {machine}"
    print(f"\n{heading}\n{text_table([*rows, mean, worst])}")
    for row in rows:
        if row.get("score_error"):
            print(f"{row['case']}: the scorer failed: {row['score_error']}")
    if a.write:
        results = ROOT / "benchmarks/results"
        results.mkdir(exist_ok=True)
        (results / f"engine-{a.profile}.md").write_text(f"# {heading}\n\n{markdown([*rows, mean, worst])}\n")
    print(json.dumps({"benchmark": "engine", "profile": a.profile, "cases": rows, "mean": mean, "worst": worst}))
    return int(any(row.get("chamfer_pct") is None for row in rows)) if not a.no_score else 0


if __name__ == "__main__":
    sys.exit(main())
