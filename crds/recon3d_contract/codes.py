"""The table of error codes: category, message, suggestion, retryable, HTTP status, process exit code.

Exit codes: 0 is success; 1 and 2 keep their usual meaning (a defect, a wrong command line); 10-29 validation,
30-39 state, 40-49 model, 50-69 resource; 126 and above belong to the shell and to signals and are never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

Category = Literal["validation", "state", "model", "resource"]


class Code(str, Enum):
    """The stable word for an error; its meaning never changes."""

    INVALID_REQUEST = "INVALID_REQUEST"
    MISSING_VIEW = "MISSING_VIEW"
    INVALID_IMAGE = "INVALID_IMAGE"
    WRONG_RESOLUTION = "WRONG_RESOLUTION"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    UPLOAD_TOO_LARGE = "UPLOAD_TOO_LARGE"
    INVALID_ARCHIVE = "INVALID_ARCHIVE"
    INVALID_INPUT = "INVALID_INPUT"
    INCONSISTENT_VIEWS = "INCONSISTENT_VIEWS"
    INPUT_NOT_FOUND = "INPUT_NOT_FOUND"
    INPUT_NOT_ALLOWED = "INPUT_NOT_ALLOWED"
    INPUT_UNREACHABLE = "INPUT_UNREACHABLE"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_NOT_READY = "JOB_NOT_READY"
    JOB_ALREADY_FINISHED = "JOB_ALREADY_FINISHED"
    CANCEL_NOT_REQUESTED = "CANCEL_NOT_REQUESTED"
    CANCELLED = "CANCELLED"
    OUTPUT_EXISTS = "OUTPUT_EXISTS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    OPTIMIZATION_DIVERGED = "OPTIMIZATION_DIVERGED"
    QUALITY_BELOW_THRESHOLD = "QUALITY_BELOW_THRESHOLD"
    GPU_UNAVAILABLE = "GPU_UNAVAILABLE"
    GPU_OUT_OF_MEMORY = "GPU_OUT_OF_MEMORY"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    TIME_LIMIT_EXCEEDED = "TIME_LIMIT_EXCEEDED"
    INFRASTRUCTURE_LOST = "INFRASTRUCTURE_LOST"
    RATE_LIMITED = "RATE_LIMITED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    CLUSTER_UNAVAILABLE = "CLUSTER_UNAVAILABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True)
class Row:
    """What is always true of a code."""

    category: Category
    message: str
    suggestion: str
    retryable: bool
    """Whether the same request can succeed later without a change by the user: an operator runs such a job again."""
    http_status: int
    exit_code: int


TABLE: Final[Mapping[Code, Row]] = {
    Code.INVALID_REQUEST: Row(
        "validation", "The job is not valid.", "Correct the fields named in the details.", False, 422, 2
    ),
    Code.MISSING_VIEW: Row(
        "validation",
        "A required view is missing.",
        "Give all six views front, back, left, right, top and bottom; depth renders all six or none.",
        False,
        422,
        10,
    ),
    Code.INVALID_IMAGE: Row(
        "validation",
        "An image cannot be used.",
        "Save views as 8-bit RGB or RGBA PNG and depth as 8- or 16-bit gray PNG.",
        False,
        422,
        11,
    ),
    Code.WRONG_RESOLUTION: Row(
        "validation",
        "An image has the wrong size.",
        "Use square images from 256 to 4096 pixels (2048 for views, 1024 for depth), one size per kind.",
        False,
        422,
        12,
    ),
    Code.FILE_TOO_LARGE: Row("validation", "A file is too large.", "Keep each file within 20 MB.", False, 413, 13),
    Code.UPLOAD_TOO_LARGE: Row(
        "validation", "The input is too large.", "Keep all files together within 200 MB.", False, 413, 14
    ),
    Code.INVALID_ARCHIVE: Row(
        "validation",
        "The archive cannot be accepted.",
        "Make a plain ZIP that holds only multi_views/ and depth_renders/.",
        False,
        422,
        15,
    ),
    Code.INVALID_INPUT: Row(
        "validation",
        "The input's files cannot be assigned to views.",
        "Give a folder or ZIP with plain files multi_views/<view>.png and depth_renders/<view>.png.",
        False,
        422,
        16,
    ),
    Code.INCONSISTENT_VIEWS: Row(
        "validation",
        "The six views do not show one object from six axes.",
        "Check the view named in the details: its direction, roll, mirror, field of view and depth.",
        False,
        422,
        17,
    ),
    Code.INPUT_NOT_FOUND: Row("validation", "The input does not exist.", "Check the input reference.", False, 404, 18),
    Code.INPUT_NOT_ALLOWED: Row(
        "validation",
        "The input's source is not allowed.",
        "Use a host that the installation allows, over https, or upload the files.",
        False,
        403,
        19,
    ),
    Code.INPUT_UNREACHABLE: Row(
        "resource",
        "The input could not be fetched.",
        "Check that its server answers, then try again.",
        True,
        502,
        50,
    ),
    Code.CHECKSUM_MISMATCH: Row(
        "validation",
        "The fetched input is not the one that was named.",
        "Give the SHA-256 of the file as it is now.",
        False,
        422,
        20,
    ),
    Code.UNAUTHENTICATED: Row(
        "validation",
        "No valid key or token was given.",
        "Send the header Authorization: Bearer with an API key of this installation.",
        False,
        401,
        21,
    ),
    Code.FORBIDDEN: Row("validation", "This is not allowed.", "Ask the administrator.", False, 403, 22),
    Code.NOT_FOUND: Row(
        "validation", "There is nothing at this address.", "Check the address; see /docs.", False, 404, 23
    ),
    Code.METHOD_NOT_ALLOWED: Row(
        "validation", "This address does not know the method.", "See the header Allow, and /docs.", False, 405, 24
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: Row(
        "validation",
        "The request's media type is not read here.",
        "Send multipart/form-data with the files, or application/json.",
        False,
        415,
        25,
    ),
    Code.IDEMPOTENCY_KEY_REUSED: Row(
        "validation",
        "The Idempotency-Key was used for another request.",
        "Use a new key for a new job; the same key only to repeat the very same request.",
        False,
        422,
        26,
    ),
    Code.RANGE_NOT_SATISFIABLE: Row(
        "validation", "The file has no such range.", "Ask for a range within the file's length.", False, 416, 27
    ),
    Code.JOB_NOT_FOUND: Row("state", "There is no such job.", "Check the job's name.", False, 404, 30),
    Code.JOB_NOT_READY: Row("state", "The job has not finished.", "Ask again when it has.", True, 409, 31),
    Code.JOB_ALREADY_FINISHED: Row("state", "The job has already finished.", "Create a new job.", False, 409, 32),
    Code.CANCEL_NOT_REQUESTED: Row(
        "state",
        "No cancellation of this job was requested.",
        "Request the cancellation first.",
        False,
        409,
        33,
    ),
    Code.CANCELLED: Row("state", "The job was cancelled.", "Create a new job to run it again.", False, 409, 34),
    Code.OUTPUT_EXISTS: Row(
        "state", "The output already exists.", "Choose another output, or remove the old one.", False, 409, 35
    ),
    Code.REQUEST_IN_PROGRESS: Row(
        "state",
        "A request with this Idempotency-Key is being answered.",
        "Repeat the request after the time in Retry-After.",
        True,
        409,
        36,
    ),
    Code.ENGINE_UNAVAILABLE: Row(
        "model",
        "The engine is not available here.",
        "Use the engine nvdiffrec, or an installation that has this engine.",
        False,
        503,
        40,
    ),
    Code.OPTIMIZATION_DIVERGED: Row(
        "model",
        "The optimisation diverged.",
        "Try another seed, the standard profile, or check the depth renders.",
        False,
        500,
        41,
    ),
    Code.QUALITY_BELOW_THRESHOLD: Row(
        "model",
        "The result does not match the input views well enough.",
        "See the report's per-view table; check the views, or use the high profile.",
        False,
        422,
        42,
    ),
    Code.GPU_UNAVAILABLE: Row(
        "resource", "No usable GPU was found.", "Use a node with a GPU, or the device cpu.", True, 503, 51
    ),
    Code.GPU_OUT_OF_MEMORY: Row(
        "resource",
        "The GPU's memory was not enough.",
        "Use the fast profile, a smaller texture, or a GPU with more memory.",
        False,
        503,
        52,
    ),
    Code.OUT_OF_MEMORY: Row(
        "resource",
        "The memory was not enough.",
        "Use the fast profile or smaller images, or give the job more memory.",
        False,
        503,
        53,
    ),
    Code.STORAGE_FULL: Row("resource", "The storage is full.", "Free some space, then try again.", True, 507, 54),
    Code.STORAGE_UNAVAILABLE: Row(
        "resource",
        "The storage cannot be used.",
        "Check that the output exists, is mounted and may be written.",
        True,
        503,
        55,
    ),
    Code.QUOTA_EXCEEDED: Row(
        "resource",
        "The quota is used up.",
        "Wait for other jobs to finish, or raise the quota.",
        True,
        429,
        56,
    ),
    Code.TIME_LIMIT_EXCEEDED: Row(
        "resource", "The time limit was reached.", "Raise the limit, or use the fast profile.", False, 504, 57
    ),
    Code.INFRASTRUCTURE_LOST: Row(
        "resource", "The machine that ran the job was lost.", "Run the job again.", True, 503, 58
    ),
    Code.RATE_LIMITED: Row(
        "resource", "Too many requests at once.", "Repeat the request after the time in Retry-After.", True, 429, 59
    ),
    Code.REQUEST_TIMEOUT: Row(
        "resource", "The request's body came too slowly.", "Send it again over a better connection.", True, 408, 60
    ),
    Code.CLUSTER_UNAVAILABLE: Row("resource", "The cluster does not answer.", "Try again in a moment.", True, 503, 61),
    Code.INTERNAL: Row(
        "resource",
        "Something failed inside the service.",
        "Try once more; if it happens again, report it with the job's run.log.",
        False,
        500,
        1,
    ),
}
