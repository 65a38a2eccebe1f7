"""Schemathesis against the running service: every operation of its OpenAPI document, with all checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_CONFIG = """
[warnings]
display = []

# What a picture shows, and which fields of a job go together, cannot be said in a schema: such a refusal is right.
[[operations]]
include-path-regex = "/(jobs|inputs|batches)$"
include-method = "POST"
checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 413, 422, 429]
"""


def fuzz(url: str, key: str, folder: Path, examples: int = 120) -> tuple[int, int, str]:
    """Return how many cases were sent, how many checks failed, and the report."""
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG)
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run", f"{url}/openapi.json",
        "--checks", "all", "--max-examples", str(examples), "--header", f"Authorization: Bearer {key}", "--seed", "7",
        "--continue-on-failure", "--suppress-health-check", "all", "--no-color", "--request-timeout", "30",
        "--exclude-path-regex", "/events$",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=1200)
    text = done.stdout + done.stderr
    cases = re.search(r"(\d[\d,]*) generated", text)
    failures = re.search(r"(\d+) unique failure", text)
    count = int(failures[1]) if failures else 0
    if done.returncode and not count:
        count = 1
    return int(cases[1].replace(",", "")) if cases else 0, count, text
