"""Names, labels and annotations that the shim gives to what it makes, and the ids of jobs."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

OWNER: Final = "recon3d.io/owner"
"""Annotation: the principal that the job belongs to."""
REQUEST: Final = "recon3d.io/request-id"
KEY: Final = "recon3d.io/idempotency-key"
"""Annotation: what the principal's Idempotency-Key was made into; the key itself is not kept."""
FINGERPRINT: Final = "recon3d.io/fingerprint"
BATCH: Final = "recon3d.io/batch"
"""Label and part of an answer."""

ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""0-9a-z without 0 1 i l o, which look alike."""
ID_LENGTH: Final = 8
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
"""Of any ReconstructionJob, so that jobs made with kubectl are found too."""


def random_id() -> str:
    """Return a new job's id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


def key_digest(secret: str, principal: str, key: str) -> str:
    """Return what stands for a principal's Idempotency-Key: 64 hexadecimal digits that only `secret` can make."""
    text = f"{len(principal)}:{principal}{key}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def id_of(digest: str, round_: int = 0) -> str:
    """Return the id that belongs to a key_digest; another one in each round, should two digests meet in one id."""
    number = int.from_bytes(hashlib.sha256(f"{digest}{round_}".encode()).digest(), "big")
    letters = []
    for _ in range(ID_LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "".join(letters)
