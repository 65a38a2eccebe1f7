"""API keys: random, known here by their SHA-256 only, in a file that a Secret is mounted as.

One key a line; # begins a comment:

    alice  sha256:<64 hexadecimal digits>
    ci     sha256:<64 hexadecimal digits>  scope=namespace  expires=2027-01-31

A principal may have several lines: to rotate, add the new key's line, hand the key out, remove the old line. The file
is read anew when it changes. `recon3d-api new-key NAME` makes a key and its line. The keys are long and random, so a
plain hash is as good as a slow one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recon3d_api.auth.principal import Principal

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.@:]{0,99}")
_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")
_PREFIX: Final = "r3d_"


class KeysError(ValueError):
    """One line for each line that is wrong."""


@dataclass(frozen=True)
class Key:
    """A line of the file."""

    principal: Principal
    expires: dt.date | None = None
    """The last day on which it is accepted (UTC)."""


def digest_of(key: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(principal: str) -> tuple[str, str]:
    """Return a new key and its line. Raises KeysError for a name that cannot be."""
    if not _PRINCIPAL.fullmatch(principal):
        raise KeysError(f"{principal!r} is no name of a principal")
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, f"{principal}  sha256:{digest_of(key)}"


def parse_keys(text: str) -> dict[str, Key]:
    """Return the keys by their hash. Raises KeysError."""
    keys: dict[str, Key] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            digest, key = _parse_line(words)
            if digest in keys:
                raise ValueError("the key is there twice")
            keys[digest] = key
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        raise KeysError("\n".join(problems))
    return keys


def _parse_line(words: list[str]) -> tuple[str, Key]:
    name, *rest = words
    found = _HASH.fullmatch(rest[0]) if rest else None
    if not _PRINCIPAL.fullmatch(name) or found is None:
        raise ValueError("has not the form: principal sha256:<64 hexadecimal digits>")
    scope, expires = False, None
    for word in rest[1:]:
        option, _, value = word.partition("=")
        if option == "scope" and value in ("own", "namespace"):
            scope = value == "namespace"
        elif option == "expires":
            expires = dt.date.fromisoformat(value)
        else:
            raise ValueError(f"{word!r} is not known; scope=own|namespace, expires=YYYY-MM-DD are")
    return found[1], Key(Principal(name, scope), expires)


class KeyRing:
    """The keys of a file, as it is now."""

    def __init__(
        self, path: Path, today: Callable[[], dt.date] = lambda: dt.datetime.now(dt.timezone.utc).date()
    ) -> None:
        """Read the file. Raises KeysError, OSError."""
        self._path, self._today = path, today
        self._keys: Mapping[str, Key] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        self._read()

    def principal(self, key: str) -> Principal | None:
        """Return who the key stands for; None if it is not accepted."""
        if time.monotonic() - self._looked > _LOOK_S:
            try:
                self._read()
            except (OSError, KeysError) as error:
                _LOG.error("the keys cannot be read anew, those of before hold: %s", error)
        found = self._keys.get(digest_of(key))
        if found is None or (found.expires is not None and self._today() > found.expires):
            return None
        return found.principal

    def _read(self) -> None:
        self._looked = time.monotonic()
        state = os.stat(self._path)
        stamp = (state.st_mtime_ns, state.st_ino)
        if stamp != self._stamp:
            self._keys = parse_keys(self._path.read_text())
            self._stamp = stamp
            _LOG.info("%d keys read", len(self._keys))
