"""The CRD's validation rules (CEL), by the part of the spec that they stand at; every message says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SOURCES: Final = ("url", "s3", "upload", "pvc", "builtin")
_CHANGEABLE: Final = ("cancel", "suspend", "priority", "ttlSecondsAfterFinished")
_FIXED: Final = (
    "engine", "input", "output", "cameras", "depth", "profile", "seed", "deterministic", "mesh", "texture", "quality",
    "nvdiffrec", "reconviagen", "limits", "deadlines", "retry", "pod",
    "webhook", "queueName",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One CEL rule; `on_create` makes a rule about changes apply to the creation too (oldSelf is then optional)."""

    rule: str
    message: str
    on_create: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as the CRD has it."""
        return {"rule": self.rule, "message": self.message, **({"optionalOldSelf": True} if self.on_create else {})}


def _same(field: str) -> str:
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"


def _fixed(field: str) -> Rule:
    return Rule(
        _same(field),
        f"{field} cannot change after creation; create a new job. Only {', '.join(_CHANGEABLE)} can change",
    )


_ONE_SOURCE = "[" + ", ".join(f"has(self.{name})" for name in _SOURCES) + "].filter(given, given).size() == 1"
_CONFIRMED = "has(oldSelf.cancel) && has(oldSelf.cancel.confirm)"

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "": (
        Rule(
            "self.engine != 'reconviagen' || !has(self.nvdiffrec)",
            "nvdiffrec holds parameters of an engine that is not chosen; remove it, or set engine to nvdiffrec or both",
        ),
        Rule(
            "self.engine != 'nvdiffrec' || !has(self.reconviagen)",
            "reconviagen holds parameters of an engine that is not chosen; remove it, or set engine to reconviagen "
            "or both",
        ),
        Rule(
            "self.engine == 'both' || !has(self.nvdiffrec) || !has(self.nvdiffrec.prior) "
            "|| self.nvdiffrec.prior != 'reconviagen'",
            "nvdiffrec.prior reconviagen needs engine both; set engine to both, or another prior",
        ),
        Rule(
            "self.limits.softSeconds < self.deadlines.activeSeconds",
            "limits.softSeconds must be less than deadlines.activeSeconds (default 7500), so that a run can end "
            "cleanly before it is ended; raise the one or lower the other",
        ),
        *(_fixed(field) for field in _FIXED),
        Rule(
            "oldSelf.hasValue() || !has(self.cancel)",
            "cancel cannot be set at creation; create the job without it",
            on_create=True,
        ),
        Rule(
            "!has(self.cancel) || !has(self.cancel.confirm) || (has(oldSelf.cancel) && has(oldSelf.cancel.request) "
            "&& has(self.cancel.request) && oldSelf.cancel.request == self.cancel.confirm "
            "&& self.cancel.request == self.cancel.confirm)",
            "cancel.confirm must be the word that cancel.request already holds; set cancel.request first, then "
            "confirm it in a second change",
        ),
        Rule(
            f"!({_CONFIRMED}) || ({_same('cancel')} && {_same('suspend')} && {_same('priority')})",
            "the cancellation is confirmed; cancel, suspend and priority cannot change any more",
        ),
    ),
    "input": (
        Rule(_ONE_SOURCE, f"input needs exactly one of {', '.join(_SOURCES)}"),
        Rule("has(self.url) == has(self.sha256)", "input.url and input.sha256 belong together; give both or neither"),
    ),
    "input.pvc": (
        Rule(
            "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('\\\\') && "
            "!self.path.split('/').exists(part, part == '..'))",
            "input.pvc.path must be relative, with / between its parts and without ..",
        ),
    ),
    "depth": (
        Rule("!has(self.near) || !has(self.far) || self.near < self.far", "depth.near must be less than depth.far"),
        Rule(
            "!has(self.unitM) || !has(self.encoding) || self.encoding in ['auto', 'metric']",
            "depth.unitM belongs to the metric encoding; set depth.encoding to metric, or remove unitM",
        ),
    ),
    "mesh": (
        Rule("!has(self.budget) || !has(self.maxFaces)", "give mesh.budget or mesh.maxFaces, not both"),
    ),
    "quality": (
        Rule(
            "(has(self.psnrWarning) ? self.psnrWarning : 20.0) <= (has(self.psnrNormal) ? self.psnrNormal : 25.0)",
            "quality.psnrWarning (default 20) must not be above quality.psnrNormal (default 25)",
        ),
        Rule(
            "(has(self.ssimWarning) ? self.ssimWarning : 0.75) <= (has(self.ssimNormal) ? self.ssimNormal : 0.85)",
            "quality.ssimWarning (default 0.75) must not be above quality.ssimNormal (default 0.85)",
        ),
    ),
}  # fmt: skip

ROOT_RULES: Final[tuple[Rule, ...]] = (
    Rule("self.metadata.name.size() <= 63", "metadata.name must have at most 63 characters: it becomes a label"),
)
