from __future__ import annotations

from pathlib import Path

import pytest
from recon3d_contract.layout import RUN_LOG_LIMIT
from recon3d_runner.runlog import RunLog, secrets_of


def test_pieces_make_lines() -> None:
    log = RunLog()
    for piece in (b"one\ntw", b"o\r\nthree \xff", b"\n\n  \nfour"):
        log.feed(piece)
    log.flush()
    assert log.text() == "one\ntwo\nthree \ufffd\nfour\n"


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("token is hunter2hunter2.", "token is ***."),
        ("in /tmp/private/x.png", "in <work>/x.png"),
        ("GET https://me:pw@host/a?X-Amz-Signature=abc", "GET https://***@host/a?***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("\x1b[31mred\x1b[0m\x07", "red"),
    ],
)
def test_what_must_not_be_stored_is_not(line: str, clean: str) -> None:
    log = RunLog(secrets=["hunter2hunter2"], paths={"/tmp/private": "<work>"})
    log.line(line)
    assert log.text() == clean + "\n"


def test_a_secret_that_arrives_in_two_pieces_is_hidden() -> None:
    log = RunLog(secrets=["hunter2hunter2"])
    log.feed(b"key hunter2")
    log.feed(b"hunter2\n")
    assert log.text() == "key ***\n"


def test_head_and_tail_survive_and_the_size_holds() -> None:
    log = RunLog()
    for index in range(30_000):
        log.line(f"line {index:06d} " + "ä" * 40)
    text = log.text()
    assert len(text.encode()) <= RUN_LOG_LIMIT
    assert len(text.encode()) > RUN_LOG_LIMIT * 0.95
    assert text.startswith("line 000000 ")
    assert "line 029999 " in text
    assert "bytes left out" in text


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    log = RunLog()
    for _ in range(1000):
        log.feed(b"x" * 10_000)
    assert len(log.text()) <= RUN_LOG_LIMIT


def test_secrets_are_values_and_files_of_variables_named_so(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    environment = {
        "RECON3D_TOKEN": str(tmp_path / "token"),
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
        "MY_PASSWORD": "abc",  # too short to hide without hiding half the log
        "HOME": "/home/somebody",
        "GONE_TOKEN": str(tmp_path / "absent"),
    }
    assert secrets_of(environment) == ["from-the-file", "wJalrXUtnFEMI", str(tmp_path / "absent")]
