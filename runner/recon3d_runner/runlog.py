"""run.log: what the engines print, without secrets and without this machine's paths, at most 1 MB.

Kept in memory and written once, so that a full disk can neither stop nor garble it. The first part and the
last part are kept; what falls between is counted.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from recon3d_contract.layout import RUN_LOG_LIMIT

HEAD: Final = 250_000
_LINE: Final = 8_000
_ROOM: Final = 200  # for the line that says what was left out

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|API_KEY|PRIVATE_KEY", re.IGNORECASE)
_URL_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_URL_QUERY = re.compile(r"(\bhttps?://[^\s?#\"']+)\?[^\s#\"']+", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)\S+", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the values that must not be logged: variables named like a secret, and the files they name."""
    found: list[str] = []
    for name, value in environment.items():
        if not _SECRET_NAME.search(name) or len(value) < 6:
            continue
        path = Path(value)
        if value.startswith("/") and path.is_file():
            try:
                found.append(path.read_text(errors="replace")[:65_536].strip())
            except OSError:
                continue
        else:
            found.append(value)
    return [secret for secret in found if len(secret) >= 6]


class RunLog:
    """Collects lines; `text` is what run.log holds."""

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        paths: Mapping[str, str] | None = None,
        mirror: Callable[[str], None] | None = None,
    ) -> None:
        """Replace each of `secrets` by ***, each key of `paths` by its value; pass clean lines to `mirror`."""
        self._secrets = [secret for secret in secrets if secret]
        home = os.path.expanduser("~")
        self._paths = dict(paths or {})
        if len(home) > 1:
            self._paths.setdefault(home, "~")
        self._mirror = mirror
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._lost = 0
        self._pending = b""

    def hide(self, secret: str) -> None:
        """Replace `secret` by *** from now on."""
        if len(secret) >= 6:
            self._secrets.append(secret)

    def hide_path(self, path: Path, name: str) -> None:
        """Write `name` in place of `path` from now on."""
        self._paths[str(path)] = name

    def clean(self, line: str) -> str:
        """Return one line as it may be stored."""
        for secret in self._secrets:
            line = line.replace(secret, "***")
        line = _BEARER.sub(r"\1***", _URL_QUERY.sub(r"\1?***", _URL_USER.sub(r"\1***@", line)))
        for path in sorted(self._paths, key=len, reverse=True):
            line = line.replace(path, self._paths[path])
        line = _CONTROL.sub("", line)
        return line if len(line) <= _LINE else line[:_LINE] + " ..."

    def feed(self, data: bytes) -> None:
        """Take raw output of a process; a line may arrive in pieces."""
        lines = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
        self._pending = lines.pop()
        if len(self._pending) > 4 * _LINE:  # a line without an end must not fill the memory
            lines.append(self._pending)
            self._pending = b""
        for line in lines:
            if line.strip():
                self.line(line.decode(errors="replace"))

    def flush(self) -> None:
        """Take the unfinished last line as a line."""
        pending, self._pending = self._pending, b""
        if pending.strip():
            self.line(pending.decode(errors="replace"))

    def line(self, text: str) -> None:
        """Add one line, or several."""
        for part in text.splitlines():
            clean = self.clean(part)
            if self._mirror is not None:
                self._mirror(clean)
            size = len(clean.encode(errors="replace")) + 1
            if not self._tail and self._head_size + size <= HEAD:
                self._head.append(clean)
                self._head_size += size
                continue
            self._tail.append(clean)
            self._tail_size += size
            while self._tail_size > RUN_LOG_LIMIT - HEAD - _ROOM:
                gone = len(self._tail.popleft().encode(errors="replace")) + 1
                self._tail_size -= gone
                self._lost += gone

    def text(self) -> str:
        """Return the whole log; at most RUN_LOG_LIMIT bytes as UTF-8."""
        middle = [f"[... {self._lost} bytes left out ...]"] if self._lost else []
        return "".join(line + "\n" for line in (*self._head, *middle, *self._tail))
