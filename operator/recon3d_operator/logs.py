"""Logs: one JSON object a line on stderr, with the job's uid where a line is about a job."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from recon3d_operator.times import stamp


class JsonLines(logging.Formatter):
    """One line a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, Any] = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if uid := getattr(record, "job_uid", None):
            line["job_uid"] = uid
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Send all logs to stderr; of Kopf's only what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("kopf", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
