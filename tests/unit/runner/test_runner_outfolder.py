from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recon3d_contract.errors import Code, Recon3dError
from recon3d_runner import outfolder
from recon3d_runner.outfolder import OutFolder, check_target, sweep


def fill(folder: OutFolder, text: str) -> None:
    (folder.result / "result.json").write_text('{"status": "failed", "spec_sha256": "' + text + '"}')
    (folder.result / "run.log").write_text(text)


def test_commit_makes_out_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = OutFolder.claim(tmp_path / "deep" / "out")
    fill(folder, "a")
    assert not (tmp_path / "deep" / "out").exists()
    folder.commit()
    assert os.listdir(tmp_path / "deep") == ["out"]
    assert sorted(os.listdir(tmp_path / "deep" / "out")) == ["result.json", "run.log"]


@pytest.mark.parametrize("exchange", [True, False])
def test_an_earlier_result_is_replaced_with_and_without_exchange(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(outfolder, "_exchange", lambda *_: False)
    for text in ("a", "b"):
        check_target(tmp_path / "out", force=False)
        folder = OutFolder.claim(tmp_path / "out")
        fill(folder, text)
        folder.commit()
    assert (tmp_path / "out" / "run.log").read_text() == "b"
    assert os.listdir(tmp_path) == ["out"]


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    folder = OutFolder.claim(tmp_path / "out")
    fill(folder, "a")
    folder.discard()
    assert os.listdir(tmp_path) == []


def test_sweep_takes_the_dead_and_leaves_the_living_and_the_foreign(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from recon3d_runner.outfolder import OutFolder;"
        "f = OutFolder.claim(Path(sys.argv[1])); (f.result / 'x').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    living = OutFolder.claim(tmp_path / "other")
    assert len(os.listdir(tmp_path)) == 2
    (tmp_path / ".out.partial-link").symlink_to(living.root)
    assert len(sweep(tmp_path, "out")) == 1
    assert sweep(tmp_path, "other") == []
    assert living.result.is_dir()
    living.discard()


def test_what_counts_as_an_earlier_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check_target(out, force=False)
    (out / "result.json").write_text("{}")
    with pytest.raises(Recon3dError) as told:
        check_target(out, force=False)
    assert told.value.code is Code.OUTPUT_EXISTS
    (out / "result.json").write_text('{"status": "completed", "spec_sha256": "0"}')
    check_target(out, force=False)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(Recon3dError) as told:
        check_target(out, force=False)
    assert "notes.txt" in told.value.details["entries"]
    check_target(out, force=True)
    for kept in (out, out / "notes.txt"):
        with pytest.raises(Recon3dError) as told:
            check_target(out, force=True, keep=(kept,))
        assert told.value.code is Code.INVALID_REQUEST


def test_the_working_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(Recon3dError, match="never replaced"):
        check_target(tmp_path / "a", force=True)
