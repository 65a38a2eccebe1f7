"""References, the input reader, and the folder store with real processes racing and a real full disk."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from recon3d_contract.errors import Recon3dError
from recon3d_contract.store import FolderStore, InputReader, Reference, Store, open_store, parse_reference
from recon3d_contract.store import folder as folder_module

SHA = "ab" * 32
UID = "0b9f5c1e-7d1c-4a58-9d0c-0123456789ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("views", Reference("path", "views")),
        ("/data/in put.zip", Reference("path", "/data/in put.zip")),
        ("C:thing", Reference("path", "C:thing")),
        ("s3://bucket/a/b.zip", Reference("s3", "bucket/a/b.zip")),
        ("builtin:example", Reference("builtin", "example")),
        (f"https://h.test/a.zip?v=1#sha256={SHA}", Reference("https", "https://h.test/a.zip?v=1", SHA)),
        (f"HTTPS://h.test/a.zip#sha256={SHA.upper()}", Reference("https", "https://h.test/a.zip", SHA)),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a\0b",
        "a\nb",
        "x" * 5000,
        "s3://bucket",
        "s3://bucket/",
        "s3:/bucket/key",
        "s3://Bucket_/key",
        "s3://bucket/a/../b",
        "builtin:",
        "builtin:../x",
        f"http://h.test/a.zip#sha256={SHA}",
        "file:///etc/passwd",
        "ftp://h.test/x",
        "https://h.test/a.zip",
        "https://h.test/a.zip#sha256=1234",
        f"https://user:pw@h.test/a.zip#sha256={SHA}",
        f"https:///a.zip#sha256={SHA}",
        f"https:h.test/a.zip#sha256={SHA}",
        f"https://h.test:port/a.zip#sha256={SHA}",
        f"https://[::1/a.zip#sha256={SHA}",
        f"https://h.test/a b.zip#sha256={SHA}",
        f"https://h.test/ä.zip#sha256={SHA}",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(Recon3dError) as error:
        parse_reference(text)
    assert error.value.code == "INVALID_REQUEST"


def test_reader_of_paths_and_builtins(tmp_path: Path) -> None:
    (tmp_path / "example").mkdir()
    reader = InputReader(builtin={"example": tmp_path / "example", "gone": tmp_path / "gone"})
    assert reader.read(str(tmp_path / "example"), tmp_path) == tmp_path / "example"
    assert reader.read("builtin:example", tmp_path) == tmp_path / "example"
    for reference, text in (
        ("builtin:other", "no builtin input other here (there is: example, gone)"),
        ("builtin:gone", "no builtin input gone"),
        (str(tmp_path / "no/such.zip"), "such.zip does not exist"),
    ):
        with pytest.raises(Recon3dError) as error:
            reader.read(reference, tmp_path)
        assert error.value.code == "INPUT_NOT_FOUND"
        assert text in error.value.message
        assert str(tmp_path) not in error.value.message


def test_s3_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("bucket", "store", "inputs"):
        monkeypatch.delitem(sys.modules, f"recon3d_contract.store.s3.{name}", raising=False)
    with pytest.raises(Recon3dError, match="library is not installed") as error:
        InputReader().read("s3://bucket/key", tmp_path)
    assert error.value.code == "STORAGE_UNAVAILABLE"
    with pytest.raises(Recon3dError, match="library is not installed"):
        open_store("s3://bucket/prefix")
    with pytest.raises(Recon3dError, match="kind builtin"):
        open_store("builtin:example")
    reader = InputReader(others={"s3": lambda reference, scratch: scratch / reference.value})
    assert reader.read("s3://bucket/key", tmp_path) == tmp_path / "bucket/key"


def store_attempt(store: Store, attempt: int, **files: bytes) -> None:
    staging = store.begin(UID, attempt)
    for name, data in ({"result.json": b"{}"} | files).items():
        (staging.path / name).parent.mkdir(parents=True, exist_ok=True)
        (staging.path / name).write_bytes(data)
    store.commit(staging)


def code_of(call: object, *args: object) -> str:
    with pytest.raises(Recon3dError) as error:
        call(*args)  # type: ignore[operator]
    return error.value.code.value


def test_the_life_of_an_attempt(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    staging = store.begin(UID, 2)
    (staging.path / "nvdiffrec").mkdir()
    (staging.path / "nvdiffrec/mesh.glb").write_bytes(b"glTF")
    (staging.path / "run.log").write_bytes(b"log")
    (staging.path / "result.json").write_bytes(b"{}")
    assert store.attempts(UID) == []
    assert code_of(store.publish, UID, 2) == "JOB_NOT_READY"
    store.commit(staging)
    assert store.attempts(UID) == [2]
    assert [file.path for file in store.files(UID, 2)] == ["result.json", "nvdiffrec/mesh.glb", "run.log"]
    assert [file.bytes for file in store.files(UID, 2)] == [2, 4, 3]
    with store.open(UID, 2, "nvdiffrec/mesh.glb") as file:
        assert file.read() == b"glTF"
    assert store.published(UID) is None
    assert store.publish(UID, 2) == 2
    assert store.published(UID) == 2
    assert sorted(path.name for path in (tmp_path / "jobs" / UID).iterdir()) == ["attempts", "current"]
    assert [path.name for path in (tmp_path / "jobs" / UID / "attempts").iterdir()] == ["2"]


def test_the_first_published_attempt_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for attempt in (1, 2):
        store_attempt(store, attempt)
    assert store.publish(UID, 2) == 2
    assert store.publish(UID, 1) == 2
    assert store.publish(UID, 2) == 2
    assert store.published(UID) == 2


def test_an_attempt_is_stored_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    late = store.begin(UID, 1)
    (late.path / "result.json").write_bytes(b"late")
    store_attempt(store, 1)
    assert code_of(store.begin, UID, 1) == "OUTPUT_EXISTS"
    assert code_of(store.commit, late) == "OUTPUT_EXISTS"
    store.discard(late)
    store.discard(late)
    with store.open(UID, 1, "result.json") as file:
        assert file.read() == b"{}"
    assert [path.name for path in (tmp_path / "jobs" / UID / "attempts").iterdir()] == ["1"]


PUBLISH = """
import sys
from pathlib import Path
from recon3d_contract.store import FolderStore
store = FolderStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(store.publish(sys.argv[2], int(sys.argv[3])))
"""


def test_processes_that_publish_at_once_agree(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    workers = []
    for attempt in range(1, 5):
        store_attempt(store, attempt)
        command = [sys.executable, "-c", PUBLISH, str(tmp_path), UID, str(attempt)]
        pipe = subprocess.PIPE
        workers.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert set(told) == {store.published(UID)}
    assert sorted(path.name for path in (tmp_path / "jobs" / UID).iterdir()) == ["attempts", "current"]


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(folder_module.os, "link", no_link)
    store = FolderStore(tmp_path)
    for attempt in (1, 2):
        store_attempt(store, attempt)
    assert [store.publish(UID, attempt) for attempt in (1, 2)] == [1, 1]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = FolderStore(tmp_path)
    store_attempt(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(folder_module.os, "fsync", full)
        assert code_of(store.publish, UID, 1) == "STORAGE_FULL"
        staging = store.begin(UID, 2)
        assert code_of(store.commit, staging) == "STORAGE_FULL"
    assert store.published(UID) is None
    assert store.attempts(UID) == [1]
    assert sorted(path.name for path in (tmp_path / "jobs" / UID).iterdir()) == ["attempts"]


def test_an_unusable_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(Recon3dError) as error:
        store.begin(UID, 1)
    assert error.value.code == "STORAGE_UNAVAILABLE"
    assert str(tmp_path) not in error.value.message


def test_a_damaged_record(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store_attempt(store, 1)
    for content in (b"", b"junk", b"[]", b'{"attempt": "1"}', b'{"attempt": true}'):
        (tmp_path / "jobs" / UID / "current").write_bytes(content)
        assert code_of(store.published, UID) == "STORAGE_UNAVAILABLE"


@pytest.mark.parametrize("uid", ["", "..", ".", "a/b", "../x", "a\0b", "-a", "x" * 65, "a\n"])
def test_uids_that_are_no_names(uid: str, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for call in (lambda: store.begin(uid, 1), lambda: store.published(uid), lambda: store.attempts(uid)):
        assert code_of(call) == "INVALID_REQUEST"
    assert not list(tmp_path.iterdir())


def test_nothing_outside_an_attempt_can_be_opened(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    store_attempt(store, 1)
    root = tmp_path / "jobs" / UID / "attempts/1"
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    for path in ("../1/result.json", "../../../../secret", "/etc/passwd", "link", "folder/secret", ".", "none"):
        assert code_of(store.open, UID, 1, path) == "JOB_NOT_FOUND"
    assert [file.path for file in store.files(UID, 1)] == ["result.json"]
    assert code_of(store.files, UID, 9) == "JOB_NOT_FOUND"
    assert code_of(store.begin, UID, 0) == "INVALID_REQUEST"
