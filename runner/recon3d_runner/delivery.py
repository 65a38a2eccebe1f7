"""From what an engine left on disk and said on its pipe to its entry in result.json; nothing is taken on trust."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from recon3d_contract.errors import Code, ErrorInfo, Recon3dError
from recon3d_contract.layout import QUALITY, RESULT, RUN_LOG, engine_files, media_type, zip_order
from recon3d_contract.phases import Phase
from recon3d_contract.quality import Quality
from recon3d_contract.result import Artifact, EngineEntry, Notice
from recon3d_contract.spec import JobSpec

from recon3d_runner.child import Exit

_PIECE = 1 << 20


def error_of_event(event: Mapping[str, Any]) -> Recon3dError:
    """Return the error that an engine's process reported; INTERNAL where it reported nonsense."""
    try:
        code = Code(event.get("code"))
    except ValueError:
        return Recon3dError(Code.INTERNAL, "The engine ended with an unknown error.")
    message, suggestion, details = (event.get(key) for key in ("message", "suggestion", "details"))
    return Recon3dError(
        code,
        message if isinstance(message, str) else None,
        details if isinstance(details, dict) else None,
        suggestion if isinstance(suggestion, str) else None,
    )


def error_of_exit(ended: Exit) -> Recon3dError:
    """Return the error for an engine's process that ended without saying why."""
    if ended.code == -signal.SIGKILL and ended.memory_kills != 0:
        text = (
            "The system ended the engine because memory ran out."
            if ended.memory_kills
            else "The system ended the engine (SIGKILL), as it does when memory runs out."
        )
        return Recon3dError(Code.OUT_OF_MEMORY, text, {"signal": "SIGKILL"})
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return Recon3dError(Code.INTERNAL, f"The engine's process was ended by {name}.", {"signal": name})
    return Recon3dError(Code.INTERNAL, "The engine's process ended without an answer.", {"exit_code": ended.code})


def failed_entry(error: ErrorInfo, seconds: float, warnings: Iterable[Mapping[str, str]] = ()) -> EngineEntry:
    """Return the entry of an engine that ended without a result."""
    return EngineEntry(
        phase=Phase.CANCELLED if error.code is Code.CANCELLED else Phase.FAILED,
        seconds=round(seconds, 3),
        warnings=[_notice(warning) for warning in warnings],
        error=error,
    )


def finished_entry(folder: Path, answer: Mapping[str, Any], spec: JobSpec, seconds: float) -> EngineEntry:
    """Return the entry of an engine that says it is done, after looking at its files in `folder`.

    Raises INTERNAL where a file is missing or empty, or the answer is not the one in quality.json.
    """
    missing = [name for name in engine_files(spec.output.formats) if not _has_content(folder / name)]
    if missing:
        raise Recon3dError(
            Code.INTERNAL,
            "The engine ended without all of its files.",
            {"missing": missing[:10], "count": len(missing)},
        )
    try:
        quality = Quality.model_validate(answer["quality"])
        written = Quality.model_validate_json((folder / QUALITY).read_bytes())
        facts, mesh = EngineEntry.facts_of(quality)
        entry = EngineEntry(
            phase=Phase.FAILED if quality.verdict == "failure" else Phase.COMPLETED,
            verdict=quality.verdict,
            reasons=list(quality.reasons),
            quality=facts,
            mesh=mesh,
            seconds=round(seconds, 3),
            stage_seconds={name: round(float(value), 3) for name, value in answer["seconds"].items()},
            peak_memory_bytes=int(answer["peak_memory_bytes"]),
            device=str(answer["device_name"]),
            versions={str(name): str(version) for name, version in answer["versions"].items()},
            warnings=[_notice(warning) for warning in answer["warnings"]],
        )
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise Recon3dError(Code.INTERNAL, "The engine's answer is not complete.") from error
    if written != quality or answer["verdict"] != quality.verdict:
        raise Recon3dError(Code.INTERNAL, "The engine's answer and its quality.json differ.")
    if quality.verdict == "failure":
        text = "; ".join(quality.reasons)
        error_info = Recon3dError(Code.QUALITY_BELOW_THRESHOLD, text or None, {"reasons": quality.reasons}).info()
        return entry.model_copy(update={"error": error_info})
    return entry


def _notice(warning: Mapping[str, str]) -> Notice:
    return Notice(code=str(warning.get("code", "warning")), message=str(warning.get("message", "")))


def _has_content(path: Path) -> bool:
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size > 0


def list_artifacts(root: Path) -> list[Artifact]:
    """Return every file below `root` but result.json and run.log, hashed and flushed to the disk.

    Raises INTERNAL for anything that is not a plain file, and OSError where the disk gives up.
    """
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative not in (RESULT, RUN_LOG):
                found[relative] = path
    artifacts = []
    for relative in zip_order(found):
        if not stat.S_ISREG(found[relative].lstat().st_mode):
            raise Recon3dError(Code.INTERNAL, "The engine left something that is not a plain file.", {"file": relative})
        size, digest = _hash(found[relative])
        artifacts.append(Artifact(path=relative, bytes=size, sha256=digest, media_type=media_type(relative)))
    return artifacts


def _hash(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb+") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        # A full network disk may say so only now; better here than to whoever downloads the file.
        os.fsync(file.fileno())
    return size, digest.hexdigest()
