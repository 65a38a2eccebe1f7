"""A job's answer as bytes, with its ETag: made once for each state of the job, sent many times."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from recon3d_api.cluster.port import Object
from recon3d_api.views import Status, job_view

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rendered:
    """JSON without line breaks."""

    body: bytes
    etag: str
    status: Status


def render(obj: Object) -> Rendered:
    """Return the answer for a job. One whose status nobody understands is shown without it."""
    try:
        view = job_view(obj)
    except (ValidationError, KeyError, ValueError) as error:
        _LOG.error("the job %s has a status that is not understood: %s", obj["metadata"]["name"], error)
        view = job_view({**obj, "status": {}})
    body = view.model_dump_json(exclude_none=True).encode()
    return Rendered(body, f'"{hashlib.sha256(body).hexdigest()[:24]}"', view.status)
