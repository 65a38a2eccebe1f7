"""quality.json: what was measured on an engine's GLB, read back from disk, against the input views.

Images are sRGB in [0, 1], composited over white at input resolution; the foreground is the union of the
input's and the render's mask. PSNR is in dB and capped at 100, where two images are the same to all purposes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recon3d_contract.conventions import ViewName
from recon3d_contract.verdict import Measured, Verdict

PSNR_CAP = 100.0

Psnr = Annotated[float, BeforeValidator(lambda value: min(value, PSNR_CAP))]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class FileModel(BaseModel):
    """Base of what is written to files: snake_case, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    def to_json(self) -> str:
        """Return indented JSON with fields in their declared order and a newline at the end."""
        return self.model_dump_json(indent=2) + "\n"


class ViewQuality(FileModel):
    """One view, or the means over six."""

    psnr_foreground: Psnr
    ssim_foreground: float
    psnr_full: Psnr
    ssim_full: float
    iou: Share
    """Of the silhouettes."""
    depth_error_pct: float | None = None
    """Median |z - z_input| in percent of the bounding-box diagonal; None without depth."""


class LeaveOneOut(FileModel):
    """Each view predicted from the texture baked without it, judged where another view sees the surface too."""

    per_view: dict[ViewName, Psnr | None]
    """dB; None where no other view sees enough of the same surface."""
    mean: Psnr | None
    """Over the views that could be judged."""


class AspectRatio(FileModel):
    """Longest edge over shortest height, scaled so that an equilateral triangle has 1."""

    median: float
    p95: float
    max: float


class MeshChecks(FileModel):
    """Facts about the delivered mesh, seams welded; lengths in world units."""

    vertices: Count
    faces: Count
    watertight: bool
    manifold: bool
    components: Count
    genus: int | None
    """Of the whole mesh when it is watertight and one component, else None."""
    degenerate_faces: Count
    self_intersections: Count
    """Pairs of faces that cross."""
    aspect_ratio: AspectRatio
    volume: float
    area: float
    diagonal: float
    """Of the axis-aligned bounding box."""
    uv_overlap: float
    """Share of the used texture area that more than one face claims."""
    unseen_texel_share: float
    """Share of the used texels that no view sees."""
    other: dict[str, float | int | bool | str | None] = Field(default_factory=dict)
    """Further facts by name, such as an optional cross-check."""


class DepthCalibration(FileModel):
    """How depth values are read: z or ray distance from near to far, in world units."""

    encoding: Literal["white-near", "black-near", "metric"]
    near: float
    far: float
    kind: Literal["z", "ray"]


class ViewCalibration(FileModel):
    """How one image was turned to agree with the others."""

    roll_deg: int = 0
    mirror: bool = False
    residual_px: float | None = None
    """How far outlines and depths of the other views miss this one's, in pixels of the depth render."""


class CalibrationReport(FileModel):
    """The cameras and the depth encoding that the job was computed with."""

    fov_deg: float
    distance: float
    depth: DepthCalibration | None
    views: dict[ViewName, ViewCalibration]
    confidence: Share
    """Below .5 where a prior stands in for what the data cannot fix."""
    prior: str | None = None
    """Which prior was used, in words."""
    residual: float
    """Median disagreement of the views, in percent of the distance."""


class Quality(FileModel):
    """The whole of quality.json."""

    schema_version: Literal[1] = 1
    engine: str
    verdict: Verdict
    reasons: list[str]
    """Why the verdict is not better; empty for normal."""
    per_view: dict[ViewName, ViewQuality]
    means: ViewQuality
    worst_view: ViewName
    leave_one_out: LeaveOneOut
    mesh: MeshChecks
    calibration: CalibrationReport

    def measured(self) -> Measured:
        """Return what the verdict rules look at."""
        return measured_of(self.means, self.leave_one_out, self.calibration.confidence)


def measured_of(means: ViewQuality, leave_one_out: LeaveOneOut, confidence: float | None = None) -> Measured:
    """Return what `verdict.judge` needs, before there is a verdict to make a Quality with."""
    return Measured(
        psnr=means.psnr_foreground,
        ssim=means.ssim_foreground,
        iou=means.iou,
        depth_error_pct=means.depth_error_pct,
        leave_one_out_psnr=leave_one_out.mean,
        confidence=confidence,
    )
