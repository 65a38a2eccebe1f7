"""check_source and extract on whole inputs: what is tolerated, and what each broken or hostile one gives."""

import os
import random
import re
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from contract_pngs import SIGNATURE, VIEW, VIEWS, changed, header, image_set, png, refused, write_folder, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from recon3d_contract.errors import Recon3dError
from recon3d_contract.inputs import check, check_source, extract
from recon3d_contract.inputs.names import assign

TOLERATED = {
    "plain": (image_set(), set()),
    "upper case": ({name.upper(): data for name, data in image_set().items()}, {"renamed_files"}),
    "wrapped": ({f"my object/{name}": data for name, data in image_set().items()}, set()),
    "decorated": (
        {
            name.replace("multi_views/", "Multi-Views/view_").replace("depth_renders/", "depth_render/01_"): data
            for name, data in image_set().items()
        },
        {"renamed_files"},
    ),
    "litter": (
        image_set() | {"__MACOSX/multi_views/._front.png": b"x", ".DS_Store": b"x", "multi_views/Thumbs.db": b"x"},
        set(),
    ),
    "extra files": (image_set() | {"readme.txt": b"hi", "multi_views/spare.png": b"x"}, {"ignored_files"}),
    "exact name goes first": (image_set() | {"multi_views/front_view.png": b"x"}, {"ignored_files"}),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("name", TOLERATED)
def test_tolerated(name: str, form: str, tmp_path: Path) -> None:
    files, warnings = TOLERATED[name]
    source = write_folder(tmp_path / "in", files) if form == "folder" else write_zip(tmp_path / "in.zip", files)
    manifest = extract(source, tmp_path / "out")
    assert manifest == check_source(source)
    assert {warning.code for warning in manifest.warnings} == warnings | {"unusual_size"}
    assert [file.name for file in manifest.files] == [
        f"{folder}/{view}.png" for folder in ("multi_views", "depth_renders") for view in VIEWS
    ]
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == set(image_set())
    assert (tmp_path / "out/multi_views/front.png").read_bytes() == VIEW
    assert manifest.sha256 == check_source(write_folder(tmp_path / "plain", image_set())).sha256


def test_without_depth(tmp_path: Path) -> None:
    manifest = check_source(write_folder(tmp_path / "in", image_set(depth=False)))
    assert not manifest.has_depth
    assert manifest.depth_size is None
    assert [warning.code for warning in manifest.warnings] == ["unusual_size", "no_depth"]


def test_standard_sizes_give_no_warning(tmp_path: Path) -> None:
    files = image_set(view=png(2048), depth_image=png(1024, colour=0, bits=16))
    manifest = check_source(write_folder(tmp_path / "in", files))
    assert manifest.warnings == ()
    assert (manifest.rgb_size, manifest.depth_size) == (2048, 1024)


BROKEN = {
    "truncated PNG": (changed(front=VIEW[:-30]), "INVALID_IMAGE", "multi_views/front.png is cut off"),
    "JPEG named .png": (changed(top=b"\xff\xd8\xff\xe0" * 9), "INVALID_IMAGE", "top.png is a JPEG, not a PNG"),
    "16-bit RGB": (changed(left=png(bits=16)), "INVALID_IMAGE", "left.png is 16-bit RGB; a view must be 8-bit"),
    "palette": (changed(left=png(colour=3)), "INVALID_IMAGE", "8-bit palette"),
    "gray view": (changed(left=png(colour=0)), "INVALID_IMAGE", "8-bit gray"),
    "RGB depth": (changed(depth_top=VIEW), "INVALID_IMAGE", "depth_renders/top.png is 8-bit RGB.*even if all"),
    "100 megapixels": (
        changed(back=SIGNATURE + header(10_000, 10_000)), "WRONG_RESOLUTION", "back.png is 10000x10000"
    ),
    "not square": (changed(back=png(2047, 2048)), "WRONG_RESOLUTION", "2047x2048; it must be square"),
    "mixed sizes": (changed(back=png(300)), "WRONG_RESOLUTION", "back.png is 300x300, others are 256x256"),
    "mixed depth sizes": (changed(depth_back=png(300, colour=0)), "WRONG_RESOLUTION", "depth_renders/back.png"),
    "five views": (changed(bottom=None), "MISSING_VIEW", "multi_views/bottom.png is missing"),
    "five depths": (changed(depth_left=None), "MISSING_VIEW", "depth_renders/left.png is missing.*all six"),
    "a JPEG instead": (
        changed(front=None) | {"multi_views/front.jpg": b"x"}, "MISSING_VIEW", "front.jpg is there, but only PNG"
    ),
    "no folder for views": (
        {f"{view}.png": VIEW for view in VIEWS}, "MISSING_VIEW", "back.png is there, but views belong into"
    ),
    "nothing": ({"notes.txt": b"x"}, "MISSING_VIEW", "6 problems: multi_views/front.png is missing"),
    "two fronts": (
        changed(front=None) | {"multi_views/front_1.png": VIEW, "multi_views/front_2.png": VIEW},
        "INVALID_INPUT",
        "more than one file could be multi_views/front.png",
    ),
    "two sets": (
        {f"a/{name}": data for name, data in image_set().items()}
        | {f"b/{name}": data for name, data in image_set().items()},
        "INVALID_INPUT",
        "more than one file",
    ),
    "half here, half there": (
        {("a/" if "front" in name else "b/") + name: data for name, data in image_set().items()},
        "INVALID_INPUT",
        "more than one set of folders: a and b",
    ),
    "IDAT bomb": (changed(front=png(raw=b"\0" * 30_000_000)), "INVALID_IMAGE", "more pixel data than its size"),
    "trailing junk": (changed(front=VIEW + b"junk"), "INVALID_IMAGE", "data after its end"),
    "wrong CRC": (changed(front=VIEW[:-1] + b"!"), "INVALID_IMAGE", "wrong checksum of its IEND"),
    "empty file": (changed(front=b""), "INVALID_IMAGE", "front.png is empty"),
    "21 MB": (changed(front=VIEW + bytes(21 << 20)), "FILE_TOO_LARGE", "is 22020.* bytes, more than"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str, form: str, tmp_path: Path) -> None:
    files, code, text = BROKEN[name]
    if form == "folder":
        source = write_folder(tmp_path / "in", files)
    else:
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w") as made:  # stored, so that the PNG's own check has to speak
            for path, data in files.items():
                made.writestr(path, data)
    error = refused(source, tmp_path / "out")
    assert error.code == code
    assert re.search(text, error.message), error.message
    listed = error.details["problems"]
    assert listed
    assert all(set(item) == {"file", "view", "code", "problem"} for item in listed)
    assert listed[0]["code"] == code


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    files = changed(front=VIEW[:-9], back=png(300), top=None, depth_left=VIEW, left=b"GIF89a")
    error = refused(write_folder(tmp_path / "in", files), tmp_path / "out")
    told = {(item["file"], item["view"], item["code"]) for item in error.details["problems"]}
    assert told == {
        ("multi_views/front.png", "front", "INVALID_IMAGE"),
        ("multi_views/left.png", "left", "INVALID_IMAGE"),
        ("depth_renders/left.png", "left", "INVALID_IMAGE"),
        ("multi_views/back.png", "back", "WRONG_RESOLUTION"),
        ("multi_views/top.png", "top", "MISSING_VIEW"),
    }
    assert error.message.startswith("5 problems: ")


@pytest.mark.parametrize("place", ["multi_views/front.png", "multi_views", "extra", "depth_renders/extra.txt"])
def test_links_in_a_folder_are_refused(place: str, tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", image_set())
    source = write_folder(tmp_path / "in", image_set())
    path = source / place
    if path.is_dir():
        path.rename(source / "moved_away")
    path.unlink(missing_ok=True)
    path.symlink_to(real / place)
    error = refused(source, tmp_path / "out")
    assert error.code == "INVALID_INPUT"
    assert f"{place} is a symbolic link" in error.message


def test_a_link_that_appears_after_the_listing_is_not_followed(tmp_path: Path) -> None:
    from recon3d_contract.inputs.folder import Folder

    source = write_folder(tmp_path / "in", image_set())
    real = write_folder(tmp_path / "real", image_set())
    with Folder(source) as folder:
        (source / "multi_views").rename(tmp_path / "old")
        (source / "multi_views").symlink_to(real / "multi_views")
        with pytest.raises(OSError, match=r"symbolic|directory"):
            list(folder.stream(("multi_views", "front.png")))


def test_special_files_do_not_hang(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", changed(front=None))
    os.mkfifo(source / "multi_views/front.png")
    error = refused(source, tmp_path / "out")
    assert "front.png is not a plain file" in error.message
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe", tmp_path / "out").code == "INVALID_INPUT"


def test_a_folder_of_very_many_files_is_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", image_set() | {f"junk/{i}": b"" for i in range(1001)})
    assert "more than 1000 files" in refused(source, tmp_path / "out").message


def test_missing_input(tmp_path: Path) -> None:
    error = refused(tmp_path / "nowhere", tmp_path / "out")
    assert error.code == "INPUT_NOT_FOUND"
    assert "nowhere does not exist" in error.message


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", image_set())
    theirs = write_folder(tmp_path / "out", {"multi_views/top.png": b"mine"})
    with pytest.raises(Recon3dError) as error:
        extract(source, theirs)
    assert error.value.code == "STORAGE_UNAVAILABLE"
    assert [path.read_bytes() for path in theirs.rglob("*.png")] == [b"mine"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "in", image_set())
    real_open = os.open

    def full(path: os.PathLike[str] | str, flags: int, *args: int, **options: int) -> int:
        if flags & os.O_CREAT:  # the kernel's own device that is always full
            return real_open("/dev/full", os.O_WRONLY)
        return real_open(path, flags, *args, **options)

    monkeypatch.setattr(check.os, "open", full)
    with pytest.raises(Recon3dError) as error:
        extract(source, tmp_path / "out")
    assert error.value.code == "STORAGE_FULL"


def test_memory_is_constant(tmp_path: Path) -> None:
    rng = random.Random(0)
    noise = b"".join(b"\0" + rng.randbytes(2048 * 3) for _ in range(2048))
    source = write_zip(tmp_path / "in.zip", image_set(depth=False, view=png(2048, raw=noise)))
    tracemalloc.start()
    check_source(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


SPELLINGS = st.sampled_from(["{}.png", "{}.PNG", "{}_view.png", "01-{}.png", "View {}.Png", "rgb.{}.png"])


@given(SPELLINGS, st.sampled_from(["multi_views", "Multi-Views", "MULTIVIEWS"]), st.lists(st.text("ab/."), max_size=9))
@settings(max_examples=150, deadline=None)
def test_names_map_to_one_view_or_to_an_error(spelling: str, folder: str, extra: list[str]) -> None:
    paths = [(folder, spelling.format(view)) for view in VIEWS]
    paths += [tuple(part for part in text.split("/") if part) or ("x",) for text in extra]
    found = assign(paths)
    assert not found.problems
    assert {view: parts for (_, view), parts in found.chosen.items()} == dict(zip(VIEWS, paths[:6], strict=True))


@pytest.mark.parametrize("name", ["frontback.png", "front_back.png", "front_front.png", "fronts.png", "front", "x.png"])
def test_names_that_are_no_view(name: str) -> None:
    assert not assign([("multi_views", name)]).chosen
