"""A job of both engines in one Pod: each container runs one engine, the last one joins what the others left.

    container reconviagen   RECON3D_ENGINE=reconviagen RECON3D_LEAVE=/parts   -> /parts/reconviagen/, its own result
    container runner        RECON3D_ENGINE=nvdiffrec   RECON3D_TAKE=/parts    -> the job's result, of both

An engine that failed leaves that as its result, and the job goes on. One whose container died left nothing: whoever
starts the Pod names it in RECON3D_LOST (`reconviagen=OUT_OF_MEMORY`), else its part is missing and told as lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from recon3d_contract.errors import Code, ErrorInfo, Recon3dError
from recon3d_contract.layout import RESULT, RUN_LOG
from recon3d_contract.result import EngineEntry, Result
from recon3d_contract.spec import ENGINES, EngineName, JobSpec

from recon3d_runner.delivery import failed_entry
from recon3d_runner.storage import storage_error

_MAX_RESULT: Final = 4_000_000


@dataclass(frozen=True)
class Share:
    """Which of a job's engines this process runs, and where the others' parts are left or found."""

    engine: EngineName | None = None
    """The only one to run; None for all."""
    leave: Path | None = None
    take: Path | None = None
    lost: Mapping[str, Code] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str], spec: JobSpec) -> Share:
        """Read it. Raises INVALID_REQUEST where the variables do not fit the job."""
        name = environment.get("RECON3D_ENGINE") or None
        leave, take = environment.get("RECON3D_LEAVE"), environment.get("RECON3D_TAKE")
        engine = next((known for known in ENGINES if known == name), None)
        if (name is None) != (engine is None) or (engine is not None and engine not in spec.engines):
            raise Recon3dError(Code.INVALID_REQUEST, f"RECON3D_ENGINE={name} is not an engine of this job.")
        if bool(leave) + bool(take) != int(engine is not None):
            text = "RECON3D_ENGINE belongs together with one of RECON3D_LEAVE and RECON3D_TAKE."
            raise Recon3dError(Code.INVALID_REQUEST, text)
        lost: dict[str, Code] = {}
        for entry in filter(None, (environment.get("RECON3D_LOST") or "").split(",")):
            key, _, code = entry.partition("=")
            lost[key] = Code(code) if code in Code.__members__ else Code.INTERNAL
        return cls(engine, Path(leave) if leave else None, Path(take) if take else None, lost)

    def runs(self, name: EngineName) -> bool:
        """Whether this process runs the engine."""
        return self.engine in (None, name)


def leave(folder: Path, engine: EngineName, result: Path) -> None:
    """Leave the folder of a part's result for who joins it; it appears whole. Raises OSError."""
    part = folder / f".{engine}.partial"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(result, part)
    shutil.rmtree(folder / engine, ignore_errors=True)
    os.rename(part, folder / engine)


@dataclass(frozen=True)
class Part:
    """What another container left."""

    entry: EngineEntry
    result: Result | None = None
    log: str = ""


def seconds_taken(share: Share) -> float:
    """Return how long the parts took that are to be joined: the job's time limit is for all of them."""
    found = [_read(share.take / name) for name in ENGINES] if share.take is not None else []
    return sum(result.timings.total_seconds for result in found if result is not None)


def _read(folder: Path) -> Result | None:
    try:
        with (folder / RESULT).open("rb") as file:
            return Result.model_validate_json(file.read(_MAX_RESULT))
    except (OSError, ValidationError):
        return None


def take(place: Path, engine: EngineName, lost: Code | None, target: Path) -> Part:
    """Return the part of `engine` left in `place`, whose files go to `target`; `lost` is why there may be none.

    Raises STORAGE_FULL, STORAGE_UNAVAILABLE.
    """
    folder = place / engine
    result = _read(folder)
    if result is None:
        return Part(failed_entry(_lost(engine, lost), 0.0))
    entry = result.engines.get(engine)
    if entry is None:
        info = result.error or _lost(engine, None)
        entry = failed_entry(info, result.timings.total_seconds)
    log = folder / RUN_LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    if (folder / engine).is_dir():
        try:
            shutil.copytree(folder / engine, target)
        except OSError as error:
            raise storage_error(error, "the result") from error
    return Part(entry, result, text)


def _lost(engine: EngineName, code: Code | None) -> ErrorInfo:
    text = f"The container of the engine {engine} ended without a result."
    if code is not None and code is not Code.INTERNAL:
        return Recon3dError(code, details={"engine": engine}).info()
    return Recon3dError(Code.INTERNAL, text, {"engine": engine}).info()
