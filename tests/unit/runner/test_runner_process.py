"""What the processes are made of: classification of errors, devices, licences, provenance, lazy imports."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.job import parse_job
from recon3d_runner import licences, provenance, source
from recon3d_runner.child import Exit
from recon3d_runner.delivery import error_of_event, error_of_exit, list_artifacts
from recon3d_runner.engines import require
from recon3d_runner.poster import Endpoint
from recon3d_runner.progress import Snapshot
from recon3d_runner.storage import storage_error, write_whole
from recon3d_runner.terminal import Bar
from recon3d_runner.worker import classify


def caused(cause: BaseException) -> BaseException:
    try:
        raise RuntimeError("saving failed") from cause
    except RuntimeError as error:
        return error


OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Recon3dError(Code.INCONSISTENT_VIEWS), Code.INCONSISTENT_VIEWS),
        (OSError(errno.ENOSPC, "No space left on device"), Code.STORAGE_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Code.STORAGE_FULL),
        (caused(OSError(errno.ENOSPC, "No space left on device")), Code.STORAGE_FULL),
        (OSError(errno.ENOENT, "No such file"), Code.INTERNAL),
        (MemoryError(), Code.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Code.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), Code.GPU_OUT_OF_MEMORY),
        (RuntimeError("CUDA error: device-side assert triggered"), Code.GPU_UNAVAILABLE),
        (FloatingPointError("nan"), Code.OPTIMIZATION_DIVERGED),
        (ZeroDivisionError(), Code.INTERNAL),
    ],
)
def test_every_error_of_an_engine_gets_a_code(error: BaseException, code: Code) -> None:
    assert classify(error).code is code


def test_an_unknown_error_tells_its_type_and_no_more() -> None:
    told = classify(ValueError("/home/me/secret.png is odd"))
    assert told.details == {"type": "ValueError"}
    assert "secret" not in told.message


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Exit(-9, 1), Code.OUT_OF_MEMORY),
        (Exit(-9, None), Code.OUT_OF_MEMORY),
        (Exit(-9, 0), Code.INTERNAL),
        (Exit(-11, 0), Code.INTERNAL),
        (Exit(-11, 3), Code.INTERNAL),
        (Exit(0, 0), Code.INTERNAL),
        (Exit(53, 0), Code.INTERNAL),
    ],
)
def test_an_engine_that_ends_without_a_word_is_an_error(ended: Exit, code: Code) -> None:
    assert error_of_exit(ended).code is code


def test_nonsense_on_the_pipe_is_an_internal_error() -> None:
    assert error_of_event({"event": "error", "code": "NO_SUCH_CODE"}).code is Code.INTERNAL
    told = error_of_event({"event": "error", "code": "MISSING_VIEW", "message": 5, "details": "x"})
    assert (told.code, told.details) == (Code.MISSING_VIEW, {})


def test_a_link_among_the_artifacts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nvdiffrec").mkdir()
    (tmp_path / "nvdiffrec" / "mesh.glb").symlink_to("/etc/passwd")
    with pytest.raises(Recon3dError) as told:
        list_artifacts(tmp_path)
    assert told.value.code is Code.INTERNAL


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.STORAGE_FULL),
        (errno.EROFS, Code.STORAGE_UNAVAILABLE),
        (errno.EACCES, Code.STORAGE_UNAVAILABLE),
        (errno.EEXIST, Code.STORAGE_UNAVAILABLE),
    ],
)
def test_storage_errors_have_codes_and_no_paths(number: int, code: Code) -> None:
    told = storage_error(OSError(number, "why", "/secret/path"), "the output")
    assert told.code is code
    assert "/secret" not in told.message + str(told.details)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "one")
    write_whole(tmp_path / "a", "two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "two")]
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "absent" / "a", "three")


def test_engines_are_known_by_name() -> None:
    require("nvdiffrec")
    for name in ("reconviagen", "blender"):
        with pytest.raises(Recon3dError) as told:
            require(name)
        assert told.value.code is Code.ENGINE_UNAVAILABLE
        assert told.value.details["engine"] == name


def test_licences_are_accepted_by_name() -> None:
    assert licences.accepted({}) == []
    assert licences.accepted({licences.ACCEPT: "vggt-weights, nvdiffrast"}) == ["nvdiffrast", "vggt-weights"]
    with pytest.raises(Recon3dError, match="unknown licence"):
        licences.accepted({licences.ACCEPT: "all"})
    assert licences.used("nvdiffrec", "cpu") == []
    assert [licence.id for licence in licences.used("nvdiffrec", "cuda")] == ["nvdiffrast"]
    assert [licence.id for licence in licences.used("nvdiffrec", "cuda", {"torch", "nvdiffrast"})] == ["nvdiffrast"]
    assert licences.used("nvdiffrec", "cuda", {"torch", "drtk"}) == []
    assert [licence.id for licence in licences.used("reconviagen", "cuda", {"drtk"})] == ["vggt-weights"]


def test_threads_follow_the_environment_else_the_machine() -> None:
    assert provenance.threads({"OMP_NUM_THREADS": "3"}) == 3
    assert provenance.threads({"OMP_NUM_THREADS": "many"}) >= 1


def test_parameters_hold_all_defaults_and_no_path() -> None:
    spec = parse_job({"input": {"path": "/home/me/scan"}, "cameras": {"fov_deg": 40}})
    data = provenance.parameters(spec)
    assert data["input"]["path"] == "scan"
    assert data["cameras"]["fovDeg"] == 40
    assert data["profile"] == "standard"


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://operator.recon3d.svc:8443/progress", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://localhost/x", True),
        ("http://operator/x", False),
        ("https://user:pw@operator/x", False),
        ("ftp://operator/x", False),
    ],
)
def test_a_token_travels_over_tls_or_not_at_all(url: str, right: bool) -> None:
    if right:
        assert Endpoint.of({"RECON3D_PROGRESS_URL": url}) == Endpoint(url)
    else:
        with pytest.raises(Recon3dError):
            Endpoint.of({"RECON3D_PROGRESS_URL": url})


def test_a_person_may_fetch_from_the_host_that_they_named_and_no_other() -> None:
    from recon3d_contract.store import parse_reference

    reference = parse_reference("https://host.example:8443/a.zip#sha256=" + "0" * 64)
    policy = source.own_policy(reference, {})
    assert policy.allows("host.example", 8443)
    assert not policy.allows("host.example", 443)
    assert not policy.allows("other.example", 8443)
    assert not source.pod_policy({}).allows("host.example", 443)
    assert source.pod_policy({"RECON3D_INPUT_HOSTS": "host.example,*.cdn.example"}).allows("a.cdn.example", 443)


def test_the_bar_draws_what_it_is_told() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.update(Snapshot("geometry", 40.0, "nvdiffrec", 10, 300, 0.5, 12.0))
    bar.notice("odd", "The views look [odd].")
    bar.close()
    assert "nvdiffrec: geometry" in stream.getvalue()
    assert "The views look [odd]. [odd]" in stream.getvalue()


def test_the_supervisor_s_process_loads_no_numerical_library() -> None:
    code = (
        "import sys; import recon3d_runner.cli, recon3d_runner.supervisor, recon3d_runner.pod, recon3d_runner.terminal;"
        "import recon3d_runner.worker, recon3d_runner.request;"
        "print(sorted({'torch', 'numpy', 'numba', 'scipy', 'PIL', 'trimesh'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
