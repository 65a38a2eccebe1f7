"""What `--input` and `--output` may name.

a/folder  or  file.zip                path
s3://bucket/key                       s3
https://host/file.zip#sha256=<hex>    https (input only)
builtin:example                       builtin (input only)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from recon3d_contract.errors import Code, Recon3dError

Scheme = Literal["path", "s3", "https", "builtin"]

_SHA = re.compile(r"sha256=([0-9a-fA-F]{64})")
_BUCKET = re.compile(r"[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]")
_NAME = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")


@dataclass(frozen=True)
class Reference:
    """A parsed reference."""

    scheme: Scheme
    value: str
    """The path, `bucket/key`, the URL without its fragment, or the builtin's name."""
    sha256: str | None = None
    """Only, and always, of https: 64 lower-case hexadecimal digits."""

    def __str__(self) -> str:
        """Return the text that parses to this reference."""
        if self.scheme == "https":
            return f"{self.value}#sha256={self.sha256}"
        return {"s3": "s3://", "builtin": "builtin:"}.get(self.scheme, "") + self.value


def _invalid(text: str) -> Recon3dError:
    return Recon3dError(Code.INVALID_REQUEST, text)


def parse_reference(text: str) -> Reference:
    """Return the reference in `text`. Raises INVALID_REQUEST for anything else."""
    if not text or not text.strip() or len(text) > 4096 or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise _invalid("A reference must not be empty or hold control characters.")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "https":
        return _https(text)
    if colon and scheme.lower() == "s3":
        bucket, slash, key = rest.removeprefix("//").partition("/")
        if not rest.startswith("//") or not slash or not key or not _BUCKET.fullmatch(bucket):
            raise _invalid("An S3 reference has the form s3://bucket/key.")
        if any(part in (".", "..") for part in key.split("/")):
            raise _invalid("An S3 key must not hold . or .. as a part.")
        return Reference("s3", f"{bucket}/{key}")
    if colon and scheme.lower() == "builtin":
        if not _NAME.fullmatch(rest):
            raise _invalid("A builtin reference has the form builtin:example.")
        return Reference("builtin", rest)
    if colon and rest.startswith("//"):
        raise _invalid(f"{scheme[:20]}:// is not a kind of reference; use a path, s3://, https:// or builtin:.")
    return Reference("path", text)


def below(ref: str, places: Iterable[str]) -> bool:
    """Whether `ref` is one of `places`, or lies below one."""
    if any(part in ("", ".", "..") for part in ref.removeprefix("s3://").rstrip("/").split("/")):
        return False
    return any(f"{ref.rstrip('/')}/".startswith(f"{place.rstrip('/')}/") for place in places)


def _https(text: str) -> Reference:
    if not text.isascii() or " " in text or "\\" in text:
        raise _invalid("A URL must be ASCII, with other characters percent-encoded.")
    address, _, fragment = text.partition("#")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _invalid("The URL is not valid.") from None
    if not host or "@" in parts.netloc or not address.lower().startswith("https://"):
        raise _invalid("The URL must have a host and no user name.")
    found = _SHA.fullmatch(fragment)
    if found is None:
        raise _invalid("An https reference must end in #sha256= and the file's 64 hexadecimal digits.")
    return Reference("https", "https" + address[5:], found.group(1).lower())
