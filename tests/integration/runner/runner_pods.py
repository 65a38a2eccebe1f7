"""A Pod as the runner sees it: volumes, environment, termination log."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon3d_contract.result import Result
from recon3d_contract.store import FolderStore
from recon3d_contract.summary import MAX_SUMMARY_BYTES, ResultSummary

UID = "0b6e2f1c-7d0a-4a53-9d0e-1f0c1c1d2e3f"


@dataclass
class Pod:
    """A Pod's volumes and environment; `run` is one attempt."""

    runner: Any
    source: Path
    folder: Path
    spec: dict[str, Any] = field(default_factory=lambda: {"profile": "fast"})

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.folder / "store")

    def environment(self, attempt: int = 1, **changes: str) -> dict[str, str]:
        (self.folder / "scratch").mkdir(exist_ok=True)
        return {
            "RECON3D_JOB": json.dumps(self.spec),
            "RECON3D_JOB_UID": UID,
            "RECON3D_ATTEMPT": str(attempt),
            "RECON3D_TERMINATION_LOG": str(self.folder / "termination-log"),
            "RECON3D_SCRATCH": str(self.folder / "scratch"),
            **changes,
        }

    @property
    def arguments(self) -> tuple[str, ...]:
        output = str(self.folder / "store")
        return ("job", "--input", str(self.source), "--output", output, "--device", "cpu")

    def run(self, attempt: int = 1, mode: str = "good", **changes: str) -> subprocess.CompletedProcess[str]:
        done = self.runner.run(*self.arguments, mode=mode, environment=self.environment(attempt, **changes))
        assert list((self.folder / "scratch").iterdir()) == []
        return done

    def start(self, attempt: int = 1, mode: str = "good", **changes: str) -> subprocess.Popen[str]:
        return self.runner.start(*self.arguments, mode=mode, environment=self.environment(attempt, **changes))

    def message(self) -> ResultSummary:
        data = (self.folder / "termination-log").read_bytes()
        assert 0 < len(data) <= MAX_SUMMARY_BYTES
        return ResultSummary.model_validate_json(data)

    def result(self, attempt: int) -> Result:
        with self.store.open(UID, attempt, "result.json") as file:
            return Result.model_validate_json(file.read())

    def leftovers(self) -> list[str]:
        folder = self.folder / "store" / "jobs" / UID / "attempts"
        return [name for name in os.listdir(folder) if name.startswith(".")] if folder.is_dir() else []
