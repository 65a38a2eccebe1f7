"""Files that arrive one by one: the same checks as of a folder, nothing else left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import Collector, check_source

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "input"


def send(collector: Collector, name: str, data: bytes, piece: int = 5000) -> None:
    collector.begin(tuple(name.split("/")))
    for at in range(0, len(data), piece):
        collector.feed(data[at : at + piece])
    collector.end()


def example() -> dict[str, bytes]:
    return {str(path.relative_to(EXAMPLE)): path.read_bytes() for path in sorted(EXAMPLE.glob("*/*.png"))}


def test_what_arrives_is_what_a_folder_with_it_would_be(tmp_path):
    collector = Collector(tmp_path)
    for name, data in example().items():
        send(collector, name, data)
    send(collector, "notes.txt", b"not used")
    manifest = collector.finish()
    assert manifest.files == check_source(EXAMPLE).files
    assert [warning.code for warning in manifest.warnings] == ["ignored_files"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 12
    assert len(check_source(tmp_path).files) == 12


def test_everything_wrong_is_told_together(tmp_path):
    collector = Collector(tmp_path)
    files = example()
    files["multi_views/front.png"] = b"GIF89a"
    del files["depth_renders/top.png"]
    files["multi_views/back_view.png"] = files["multi_views/back.png"]
    for name, data in files.items():
        send(collector, name, data)
    with pytest.raises(Recon3dError) as error:
        collector.finish()
    found = {(each["view"], each["code"]) for each in error.value.details["problems"]}
    assert found == {("front", "INVALID_IMAGE"), ("top", "MISSING_VIEW")}


def test_two_files_for_one_view_are_refused(tmp_path):
    collector = Collector(tmp_path)
    for name, data in example().items():
        send(collector, name, data)
    send(collector, "multi_views/front.png", example()["multi_views/front.png"])
    with pytest.raises(Recon3dError, match="more than one file could be"):
        collector.finish()


def test_too_much_altogether_ends_it_at_once(tmp_path):
    collector = Collector(tmp_path, limit=100_000)
    collector.begin(("unused.bin",))
    collector.feed(bytes(100_000))
    with pytest.raises(Recon3dError, match="more than 100000 bytes"):
        collector.feed(b"1")
