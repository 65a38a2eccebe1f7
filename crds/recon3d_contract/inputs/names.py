"""Which file is which view, from names alone.

Tolerated where only one reading is possible: upper case, one wrapping top folder, other files beside, what
operating systems leave behind, and spellings such as `multi-views/front_view.PNG`. A file with the exact name
goes before a decorated one; two of the same rank are an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from recon3d_contract.conventions import VIEWS, ViewName
from recon3d_contract.errors import Code
from recon3d_contract.inputs.manifest import FOLDERS, canonical
from recon3d_contract.inputs.png import Kind
from recon3d_contract.inputs.problems import Problem

_LITTER: Final = {"__macosx", "thumbs.db", "desktop.ini"}
_SPLIT: Final = re.compile(r"[-_. ()]+")
_FOLDER_WORDS: Final[dict[str, Kind]] = {
    "multiviews": "view",
    "multiview": "view",
    "depthrenders": "depth",
    "depthrender": "depth",
}
_DECORATION: Final = {"view", "rgb", "rgba", "color", "colour", "depth", "render", "image", "img"}
_LOOKALIKES: Final = {".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr", ".bmp", ".gif", ".tga", ".hdr"}

Parts = tuple[str, ...]


@dataclass
class Assignment:
    """The files of each kind and view, what is wrong, and what was passed over."""

    chosen: dict[tuple[Kind, ViewName], Parts] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    ignored: list[Parts] = field(default_factory=list)


def is_litter(parts: Parts) -> bool:
    """Whether an operating system or a tool left this file: hidden, __MACOSX, Thumbs.db ..."""
    return any(part.startswith(".") or part.casefold() in _LITTER for part in parts)


def _kind_of(folder: str) -> tuple[Kind, int] | None:
    """The kind that a folder holds, with rank 0 for its exact name, 1 for a decorated one."""
    folded = folder.casefold()
    for kind, name in FOLDERS.items():
        if folded == name:
            return kind, 0
    found = _FOLDER_WORDS.get("".join(_SPLIT.split(folded)))
    return None if found is None else (found, 1)


def _view_of(stem: str) -> tuple[ViewName, int] | None:
    folded = stem.casefold()
    words = [word for word in _SPLIT.split(folded) if word]
    views = [view for view in VIEWS if view in words]
    others = [word for word in words if word not in views and word not in _DECORATION and not word.isdigit()]
    if len(views) != 1 or others or words.count(views[0]) != 1:
        return None
    return views[0], 0 if folded == views[0] else 1


def place(parts: Parts) -> tuple[Kind, ViewName] | None:
    """Return which image a file with this path could be; None if it is none."""
    if not parts or is_litter(parts):
        return None
    stem, dot, suffix = parts[-1].rpartition(".")
    view = _view_of(stem) if dot and suffix.casefold() == "png" else None
    kind = _kind_of(parts[-2]) if len(parts) in (2, 3) else None
    return None if view is None or kind is None else (kind[0], view[0])


def assign(paths: Iterable[Parts]) -> Assignment:
    """Return which of `paths` (parts relative to the folder or archive) is which image."""
    result = Assignment()
    candidates: dict[tuple[Kind, ViewName], list[tuple[int, Parts]]] = {}
    almost: dict[tuple[Kind, ViewName], Parts] = {}
    flat: list[Parts] = []
    for parts in sorted(paths):
        if is_litter(parts):
            continue
        stem, dot, suffix = parts[-1].rpartition(".")
        view = _view_of(stem) if dot else None
        kind = _kind_of(parts[-2]) if len(parts) in (2, 3) else None
        if view is None or kind is None:
            result.ignored.append(parts)
            if view is not None and suffix.casefold() == "png":
                flat.append(parts)
            continue
        key = (kind[0], view[0])
        if suffix.casefold() == "png":
            candidates.setdefault(key, []).append((kind[1] + view[1], parts))
        elif f".{suffix.casefold()}" in _LOOKALIKES:
            almost[key] = parts
            result.ignored.append(parts)
        else:
            result.ignored.append(parts)
    _choose(candidates, result)
    _one_folder_each(result)
    _complete(result, almost, flat)
    return result


def _choose(candidates: dict[tuple[Kind, ViewName], list[tuple[int, Parts]]], result: Assignment) -> None:
    for (kind, view), found in candidates.items():
        best = min(rank for rank, _ in found)
        first = [parts for rank, parts in found if rank == best]
        if len(first) > 1:
            names = " and ".join("/".join(parts) for parts in first[:4])
            text = f"more than one file could be {canonical(kind, view)}: {names}"
            result.problems.append(Problem("/".join(first[0]), view, Code.INVALID_INPUT, text))
        result.chosen[kind, view] = first[0]
        result.ignored += [parts for _, parts in found if parts not in first]


def _one_folder_each(result: Assignment) -> None:
    """All chosen files lie under one top folder (or none), so that two sets cannot be mixed."""
    tops = sorted({parts[:-2] for parts in result.chosen.values()})
    if len(tops) > 1 and not any(problem.code is Code.INVALID_INPUT for problem in result.problems):
        names = " and ".join("/".join(top) or "the top level" for top in tops)
        text = f"the images lie in more than one set of folders: {names}"
        result.problems.append(Problem(None, None, Code.INVALID_INPUT, text))


def _complete(result: Assignment, almost: dict[tuple[Kind, ViewName], Parts], flat: list[Parts]) -> None:
    kinds: list[Kind] = ["view"]
    if any(kind == "depth" for kind, _ in [*result.chosen, *almost]):
        kinds.append("depth")
    hints = 0
    for kind in kinds:
        for view in VIEWS:
            if (kind, view) in result.chosen:
                continue
            name = canonical(kind, view)
            text = f"{name} is missing"
            if (kind, view) in almost:
                text += f" ({'/'.join(almost[kind, view])} is there, but only PNG files are read)"
            elif kind == "view" and flat and hints == 0:
                text += f" ({'/'.join(flat[0])} is there, but views belong into multi_views/)"
                hints += 1
            elif kind == "depth" and hints == 0:
                text += " (give all six depth renders, or none)"
                hints += 1
            result.problems.append(Problem(name, view, Code.MISSING_VIEW, text))
