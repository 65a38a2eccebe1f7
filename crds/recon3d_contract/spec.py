"""The job: what a user asks for. One schema in the CR's spec, in RECON3D_JOB, in --job FILE and over REST.

JSON is camelCase (`cameras.fovDeg`), as Kubernetes has it; snake_case (`cameras.fov_deg`) is read too.
Unknown fields and values out of range are errors. `model_fields_set` tells what the user gave and what is a
default, also after a round trip through `to_json`. Parsing, with all problems at once, is in job.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from recon3d_contract.conventions import ViewName

EngineChoice = Literal["nvdiffrec", "reconviagen", "both"]
EngineName = Literal["nvdiffrec", "reconviagen"]
Profile = Literal["fast", "standard", "high"]
Format = Literal["glb", "obj", "ply"]
TextureSize = Literal["auto", 512, 1024, 2048, 4096]
MeshBudget = Literal["mobile", "web", "desktop", "full"]

ENGINES: Final[tuple[EngineName, ...]] = ("nvdiffrec", "reconviagen")
FORMATS: Final[tuple[Format, ...]] = ("glb", "obj", "ply")
BUDGETS: Final[dict[MeshBudget, int | None]] = {
    "mobile": 10_000,
    "web": 50_000,
    "desktop": 150_000,
    "full": None,
}
"""The most triangles of each budget; None keeps what the engine makes."""

_DNS_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"


def _relative(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or "\0" in path or ".." in parts:
        raise ValueError("must be a relative path with / between its parts and without ..")
    return path


class JobModel(BaseModel):
    """Base of every part of a job: strict types, no unknown fields, camelCase in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )


class ClaimSource(JobModel):
    """A folder or ZIP on a PersistentVolumeClaim of the job's namespace."""

    claim_name: Annotated[str, Field(pattern=_DNS_NAME)]
    path: Annotated[str, Field(max_length=1024)] = ""
    """Relative to the volume's root; empty is the root itself."""

    _path = field_validator("path")(_relative)


class InputSource(JobModel):
    """Where the views are: exactly one of path, url, s3, upload, pvc, builtin."""

    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """A folder or ZIP of the machine that runs the job (command line only)."""
    url: Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s/?#@]+/[^\s#]*$")] | None = None
    """A ZIP over https, without user name and fragment; needs sha256."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file at `url`, 64 lower-case hexadecimal digits."""
    s3: Annotated[str, Field(max_length=1024, pattern=r"^s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]/[^\s]+$")] | None = None
    """`s3://bucket/key`: a ZIP, or a prefix that holds multi_views/."""
    upload: Annotated[str, Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_]{7,63}$")] | None = None
    """The id of an upload to the REST shim."""
    pvc: ClaimSource | None = None
    builtin: Literal["example"] | None = None
    """The example that the runner's image holds."""

    @model_validator(mode="after")
    def _exactly_one(self) -> InputSource:
        given = [name for name in ("path", "url", "s3", "upload", "pvc", "builtin") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none" if not given else "both " + " and ".join(given)
            raise ValueError(f"needs exactly one of path, url, s3, upload, pvc, builtin; has {found}")
        if (self.url is None) != (self.sha256 is None):
            raise ValueError("url and sha256 belong together")
        return self

    @property
    def reference(self) -> str | None:
        """The store reference (recon3d_contract.store) where there is one; None for pvc and upload."""
        if self.url is not None:
            return f"{self.url}#sha256={self.sha256}"
        return self.path or self.s3 or (f"builtin:{self.builtin}" if self.builtin else None)


class Output(JobModel):
    """Where the result goes and in which formats."""

    ref: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A folder or `s3://bucket/prefix`; None is the installation's store."""
    formats: Annotated[list[Format], Field(max_length=8)] = Field(default_factory=lambda: list(FORMATS))
    """GLB is always among them."""

    @field_validator("formats")
    @classmethod
    def _ordered(cls, formats: list[Format]) -> list[Format]:
        return [name for name in FORMATS if name == "glb" or name in formats]


class ViewSettings(JobModel):
    """How one image is turned; given values are not searched for."""

    roll_deg: Literal[0, 90, 180, 270] | None = None
    """Degrees by which the image is turned clockwise against the convention."""
    mirror: bool | None = None
    """Whether the image is flipped left to right."""


class Cameras(JobModel):
    """What is known of the cameras; None is found by calibration."""

    fov_deg: Annotated[float, Field(ge=5, le=120)] | None = None
    """Full angle of view across the square image."""
    distance: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """From the cameras to the origin, in world units (metres where the scale is known)."""
    preset: Literal["standard", "swapped"] | None = None
    """standard: left looks from +y; swapped: left and right have changed places."""
    views: dict[ViewName, ViewSettings] = Field(default_factory=dict)


class DepthSettings(JobModel):
    """What is known of the depth renders; `auto` and None are found by calibration."""

    encoding: Literal["auto", "white-near", "black-near", "metric"] = "auto"
    kind: Literal["auto", "z", "ray"] = "auto"
    """z: distance along the camera's axis; ray: distance from the camera's centre."""
    near: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """World units at the near end of the range."""
    far: Annotated[float, Field(gt=0, le=1e6)] | None = None
    unit_m: Annotated[float, Field(gt=0, le=1e3)] | None = None
    """Metres per gray level of the metric encoding (0.0001 is 0.1 mm)."""

    @model_validator(mode="after")
    def _range(self) -> DepthSettings:
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise ValueError("near must be less than far")
        if self.unit_m is not None and self.encoding in ("white-near", "black-near"):
            raise ValueError("unitM belongs to the metric encoding")
        return self


class MeshSettings(JobModel):
    """How many triangles the delivered mesh may have."""

    budget: MeshBudget = "desktop"
    max_faces: Annotated[int, Field(ge=500, le=2_000_000)] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> MeshSettings:
        if self.max_faces is not None and "budget" in self.model_fields_set:
            raise ValueError("give budget or maxFaces, not both")
        return self

    @property
    def face_limit(self) -> int | None:
        """The most triangles; None is no limit."""
        return self.max_faces if self.max_faces is not None else BUDGETS[self.budget]


class TextureSettings(JobModel):
    """The base colour texture: square, `size` texels on a side."""

    size: TextureSize = "auto"


class QualityThresholds(JobModel):
    """What recon3d_contract.verdict judges by; PSNR in dB, the others as named."""

    psnr_normal: Annotated[float, Field(ge=0, le=100)] = 25.0
    psnr_warning: Annotated[float, Field(ge=0, le=100)] = 20.0
    ssim_normal: Annotated[float, Field(ge=0, le=1)] = 0.85
    ssim_warning: Annotated[float, Field(ge=0, le=1)] = 0.75
    iou: Annotated[float, Field(ge=0, le=1)] = 0.97
    depth_error_pct: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Median depth error, in percent of the object's bounding-box diagonal."""
    leave_one_out_psnr: Annotated[float, Field(ge=0, le=100)] = 18.0

    @model_validator(mode="after")
    def _ordered(self) -> QualityThresholds:
        if self.psnr_warning > self.psnr_normal or self.ssim_warning > self.ssim_normal:
            raise ValueError("a warning threshold must not be above its normal threshold")
        return self


class NvdiffrecSettings(JobModel):
    """Parameters of the engine nvdiffrec."""

    iterations: Annotated[int, Field(ge=2, le=20_000)] = 500
    """Of the geometry and the texture pass together."""
    geometry_share: Annotated[float, Field(ge=0.1, le=0.9)] = 0.6
    """The part of the iterations that the geometry pass takes; the texture pass takes the rest."""
    resolution: Annotated[int, Field(ge=32, le=1024)] | None = None
    """Voxels along the longest side of the fusion grid; None is the profile's."""
    prior: Literal["auto", "fusion", "hull", "reconviagen"] = "auto"
    """The surface that the geometry pass starts from: fused depth, or the silhouettes' visual hull. `reconviagen` is
    fused depth, emptied where no view sees and the other engine's mesh is not (engine `both` only)."""


class ReconviagenSettings(JobModel):
    """Parameters of the engine reconviagen."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """None is the job's seed."""
    sparse_structure_steps: Annotated[int, Field(ge=1, le=200)] = 30
    sparse_structure_cfg: Annotated[float, Field(ge=0, le=20)] = 7.5
    slat_steps: Annotated[int, Field(ge=1, le=200)] = 12
    slat_cfg: Annotated[float, Field(ge=0, le=20)] = 7.5
    low_vram: bool | None = None
    """Keep only the model in use on the GPU; None decides by the GPU's memory."""


class Limits(JobModel):
    """Time limits."""

    soft_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] | None = None
    """Wall-clock seconds after which a run ends itself with TIME_LIMIT_EXCEEDED; None is no limit."""


class JobSpec(JobModel):
    """A whole job. Read one with `parse_job`, which lists every problem at once."""

    engine: EngineChoice = "nvdiffrec"
    input: InputSource | None = None
    """None only where the command line gives it."""
    output: Output = Field(default_factory=Output)
    cameras: Cameras = Field(default_factory=Cameras)
    depth: DepthSettings = Field(default_factory=DepthSettings)
    profile: Profile = "standard"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bytes again (slower); a CPU always does."""
    mesh: MeshSettings = Field(default_factory=MeshSettings)
    texture: TextureSettings = Field(default_factory=TextureSettings)
    quality: QualityThresholds = Field(default_factory=QualityThresholds)
    nvdiffrec: NvdiffrecSettings = Field(default_factory=NvdiffrecSettings)
    reconviagen: ReconviagenSettings = Field(default_factory=ReconviagenSettings)
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _prior_is_made(self) -> JobSpec:
        if self.nvdiffrec.prior == "reconviagen" and self.engine != "both":
            raise ValueError("nvdiffrec.prior reconviagen needs engine both")
        return self

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """The engines to run, in order: one that another one's prior comes from is first."""
        if self.engine != "both":
            return (self.engine,)
        return ("reconviagen", "nvdiffrec") if self.nvdiffrec.prior == "reconviagen" else ENGINES

    def to_json(self) -> str:
        """Return the JSON of what was given; `parse_job` reads it back to an equal job."""
        return self.model_dump_json(by_alias=True, exclude_unset=True)


_SNAKE = re.compile(r"_+([a-z0-9])")


def camel(name: str) -> str:
    """`fov_deg` -> `fovDeg`; a name without underscores stays."""
    return _SNAKE.sub(lambda match: match.group(1).upper(), name)
