"""Writes the tables of the documents from the code that they describe (`make docs`).

A document holds pairs of comments, `<!-- begin: NAME -->` and `<!-- end: NAME -->`; what stands between them is
replaced by the block NAME. tests/unit/tooling/test_tooling_docs.py fails where a document is stale.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from recon3d_api.settings import Settings as ApiSettings
from recon3d_contract import spec
from recon3d_contract.conventions import POSITION, UP, VIEWS
from recon3d_contract.crd import crd
from recon3d_contract.errors import TABLE
from recon3d_contract.phases import TRANSITIONS, Phase
from recon3d_contract.resource import OPERATOR_FIELDS
from recon3d_contract.stages import STAGES, WEIGHTS
from recon3d_operator.cluster.refusals import TABLE as REFUSALS
from recon3d_operator.settings import Settings as OperatorSettings
from recon3d_runner.engines.nvdiffrec import profiles

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "architecture.md", "docs/job.md", "docs/operator.md", "docs/api.md", "docs/engines.md")
_CLUSTER = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
_BLOCK = re.compile(r"(<!-- begin: ([a-z-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; a | within a cell is escaped."""
    lines = ([str(cell).replace("|", "\\|") for cell in line] for line in (head, ["---"] * len(head), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def errors() -> str:
    """Every error code, by its exit code."""
    rows = [
        [f"`{code.value}`", row.category, row.exit_code, row.http_status, "yes" if row.retryable else "no", row.message]
        for code, row in sorted(TABLE.items(), key=lambda item: item[1].exit_code)
    ]
    return table(["code", "category", "exit", "HTTP", "retry helps", "message"], rows)


def _axis(vector: Sequence[float]) -> str:
    at = next(i for i, value in enumerate(vector) if value)
    return f"{'+' if vector[at] > 0 else '-'}{'xyz'[at]}"


def views() -> str:
    """Where each camera stands and what is up in its image."""
    rows = [[f"`{view}`", _axis(POSITION[view]), _axis(UP[view])] for view in VIEWS]
    return table(["view", "camera looks at the origin from", "up in the image"], rows)


def thresholds() -> str:
    """The default limits of the verdict."""
    limits = spec.QualityThresholds()
    rows = [
        ["PSNR, foreground, mean of six views", f">= {limits.psnr_normal:g} dB", f">= {limits.psnr_warning:g} dB"],
        ["SSIM, foreground, mean of six views", f">= {limits.ssim_normal:g}", f">= {limits.ssim_warning:g}"],
        ["silhouette IoU", f">= {limits.iou:g}", "any"],
        ["median depth error, of the diagonal", f"<= {limits.depth_error_pct:g} %", "any"],
        ["leave-one-view-out PSNR", f">= {limits.leave_one_out_psnr:g} dB", "any"],
    ]
    return table(["measured on the GLB read back from disk", "`normal`", "`warning`"], rows)


def profile_table() -> str:
    """What each profile of the engine nvdiffrec means."""
    rows = []
    for name in ("fast", "standard", "high"):
        job = spec.JobSpec(profile=name)
        plan = profiles.plan(job)
        pixels = "every one" if plan.stride == 1 else f"1 in {plan.stride**2}"
        passes = [plan.geometry_iterations, plan.texture_iterations]
        rows.append([f"`{name}`", plan.voxels, f"{plan.faces:,}", *passes, pixels, plan.texture_limit])
    head = [
        "profile",
        "carving grid, longest side",
        "faces, at most",
        "geometry iterations, at most",
        "texture iterations, at most",
        "pixels in the texture pass",
        "texture side, at most",
    ]
    return table(head, rows)


def budgets() -> str:
    """The most faces of each mesh budget."""
    rows = [[f"`{name}`", f"{faces:,}" if faces else "no limit"] for name, faces in spec.BUDGETS.items()]
    return table(["`mesh.budget`", "faces, at most"], rows)


def stages() -> str:
    """The stages in order with each engine's share of the progress."""
    rows = [[f"`{name}`", *(weights.get(name, "") for weights in WEIGHTS.values())] for name in STAGES]
    return table(["stage", *(f"percent of `{engine}`" for engine in WEIGHTS)], rows)


def phases() -> str:
    """The phases of a job and the changes between them, as a picture."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.QUEUED.value}"]
    for phase, after in TRANSITIONS.items():
        ordered = [target for target in Phase if target in after]
        lines += [f"    {phase.value} --> {target.value}" for target in ordered]
        lines += [] if ordered else [f"    {phase.value} --> [*]"]
    return "\n".join([*lines, "```"])


def _meanings(model: type[Any]) -> dict[str, str]:
    """The strings that stand below the fields in the model's source, first paragraph, on one line."""
    body = ast.parse(inspect.getsource(model)).body[0]
    found: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(str(node.value.value).split())
            name = ""
        else:
            name = ""
    return found


def _allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say what a JSON schema allows."""
    if "$ref" in schema:
        return _allowed(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_allowed(item, definitions) for item in schema["anyOf"] if item.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_allowed(schema['items'], definitions)}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None:
        above = "" if low is not None else "above "
        return f"{above}{schema.get('exclusiveMinimum', low):,} to {high:,}".replace(".0 ", " ").removesuffix(".0")
    known = {"boolean": "`true`, `false`", "string": "time" if schema.get("format") == "date-time" else "text"}
    return known.get(str(schema.get("type")), str(schema.get("type") or "text"))


def _fields(model: type[BaseModel], prefix: str, definitions: dict[str, Any]) -> Iterator[list[str]]:
    meanings = _meanings(model)
    schema = model.model_json_schema(by_alias=True)
    for name, info in model.model_fields.items():
        key = f"{prefix}{info.alias}"
        default = info.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _fields(type(default), f"{key}.", definitions)
            continue
        inner = [
            t for t in getattr(info.annotation, "__args__", ()) if isinstance(t, type) and issubclass(t, BaseModel)
        ]
        if inner:
            place = "" if name != "views" else "<view>."
            yield from _fields(inner[0], f"{key}.{place}", definitions)
            continue
        given = default is not None and not info.is_required()
        shown = f"`{json.dumps(default)}`" if given else "required" if info.is_required() else ""
        allowed = _allowed(schema["properties"][str(info.alias)], {**definitions, **schema.get("$defs", {})})
        yield [f"`{key}`", allowed, shown, meanings.get(name, "")]


def job() -> str:
    """Every field of a job."""
    definitions = spec.JobSpec.model_json_schema(by_alias=True).get("$defs", {})
    return table(["field", "allowed", "default", "meaning"], list(_fields(spec.JobSpec, "", definitions)))


def example() -> str:
    """What the committed result of the example says of itself; nothing where there is none."""
    path = ROOT / "examples/result/result.json"
    if not path.is_file():
        return ""
    result = json.loads(path.read_text())
    name, made = result["engine"], result["provenance"]
    entry = result["engines"][name]
    facts, mesh = entry["quality"], entry["mesh"]
    rows = [
        ["verdict", entry["verdict"]],
        ["PSNR, SSIM (foreground, mean of six views)", f"{facts['psnr']:.2f} dB, {facts['ssim']:.4f}"],
        ["leave-one-view-out PSNR", f"{facts['leave_one_out_psnr']:.2f} dB"],
        ["silhouette IoU", f"{facts['iou']:.4f}"],
        ["median depth error, of the diagonal", f"{facts['depth_error_pct']:.4f} %"],
        ["mesh", f"{mesh['faces']:,} faces, {'watertight' if mesh['watertight'] else 'open'}, genus {mesh['genus']}"],
        ["self-intersections", mesh["self_intersections"]],
        ["time, peak memory", f"{entry['seconds']:.0f} s, {entry['peak_memory_bytes'] / 1e9:.1f} GB"],
    ]
    command = f"recon3d-runner run builtin:example --profile {made['parameters']['profile']}"
    where = f"{entry['device']}, {made['threads']} threads, {result['timings']['finished_at'][:10]}"
    return f"`{command}` on {where}:\n\n{table(['the bundled example', ''], rows)}"


def benchmarks() -> str:
    """A link to every table in benchmarks/results."""
    paths = sorted(path.relative_to(ROOT) for path in ROOT.glob("benchmarks/results/*.md"))
    return "\n".join(f"- [{(ROOT / path).read_text().splitlines()[0][2:]}]({path})" for path in paths)


def _schema_rows(schema: dict[str, Any], prefix: str) -> Iterator[list[str]]:
    for name, child in (schema.get("properties") or {}).items():
        items = child.get("items") or {}
        inner, mark = (items, "[]") if items.get("properties") else (child, "")
        if inner.get("properties"):
            yield from _schema_rows(inner, f"{prefix}{name}{mark}.")
            continue
        default = f"`{json.dumps(child['default'])}`" if "default" in child else ""
        allowed = "an error's code" if "INTERNAL" in child.get("enum", ()) else _allowed(child, {})
        yield [f"`{prefix}{name}`", allowed, default, child.get("description", "")]


def cluster_spec() -> str:
    """The fields of spec that only a ReconstructionJob has."""
    rows = _schema_rows(_CLUSTER["spec"], "")
    ours = [row for row in rows if row[0].strip("`").split(".")[0] in OPERATOR_FIELDS]
    return table(["field", "allowed", "default", "meaning"], ours)


def status() -> str:
    """The fields of status."""
    rows = _schema_rows(_CLUSTER["status"], "")
    return table(["field", "type or values", "meaning"], [[row[0], row[1], row[3]] for row in rows])


def refusals() -> str:
    """What the API server's refusals of a Pod mean."""
    kinds = {
        "wait": "tried again when the quota changes",
        "retry": "tried again soon",
        "help": "somebody must act",
        "refused": "the job fails",
    }
    rows = [[f"`{row.reason}`", kinds[row.kind.value], row.advice] for row in REFUSALS if row.kind.value in kinds]
    return table(["reason", "what follows", "advice"], rows)


def settings(kind: type[OperatorSettings | ApiSettings]) -> str:
    """A service's variables."""
    meanings, rows = _meanings(kind), []
    for each in dataclasses.fields(kind):
        given = "" if each.default in (dataclasses.MISSING, "", ()) else f"`{each.default}`"
        rows.append([f"`RECON3D_{each.name.upper()}`", given, meanings.get(each.name, "")])
    return table(["variable", "default", "meaning"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "errors": errors,
    "views": views,
    "thresholds": thresholds,
    "profiles": profile_table,
    "budgets": budgets,
    "stages": stages,
    "phases": phases,
    "job": job,
    "example": example,
    "benchmarks": benchmarks,
    "cluster-spec": cluster_spec,
    "status": status,
    "refusals": refusals,
    "operator-settings": lambda: settings(OperatorSettings),
    "api-settings": lambda: settings(ApiSettings),
}


def render(text: str) -> str:
    """Return `text` with every block made anew; KeyError for one that does not exist."""

    def fresh(found: re.Match[str]) -> str:
        made = BLOCKS[found[2]]()
        return found[1] + (f"\n{made}\n\n" if made else "") + found[3]

    return _BLOCK.sub(fresh, text)


def main() -> int:
    """Rewrite the documents that are stale and name them."""
    for name in DOCUMENTS:
        path = ROOT / name
        if (new := render(path.read_text())) != path.read_text():
            path.write_text(new)
            sys.stdout.write(f"[docs] {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
