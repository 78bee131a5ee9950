"""A job's code: found where it is said to be, or refused in a sentence that names the place."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fake_link import FakeLink, Start

from gaelp_ray.domain import code as domain
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import code

TRAINER = b"""
import os
import helper

def train(ctx):
    return {"answer": helper.ANSWER, "folder": os.getcwd()}
"""
FILES = {"train.py": TRAINER, "helper.py": b"ANSWER = 42\n", "bin/run.sh": b"#!/bin/sh\n"}
MODES = {".zip": "", ".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def a_zip(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def a_tar(path: Path, mode: Any, files: dict[str, bytes], members: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


def a_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def an_archive(folder: Path, end: str, files: dict[str, bytes]) -> Path:
    path = folder / f"my code (2) & co{end}"
    return a_zip(path, files) if end == ".zip" else a_tar(path, MODES[end], files)


@pytest.mark.parametrize("end", MODES)
def test_an_archive_is_unpacked_and_run(start: Start, tmp_path: Path, end: str) -> None:
    path = an_archive(tmp_path, end, FILES)
    outcome = start("train:train", working_dir=str(path)).outcome()
    assert outcome.cause is EndCause.SUCCESS, outcome.message
    assert outcome.result is not None
    assert outcome.result == {"answer": 42, "folder": str(tmp_path / "scratch" / "code")}


def test_a_folder_alone_in_an_archive_is_the_working_folder(start: Start, tmp_path: Path) -> None:
    path = an_archive(tmp_path, ".tar.gz", {f"my-agent/{name}": content for name, content in FILES.items()})
    outcome = start("train:train", working_dir=str(path)).outcome()
    assert outcome.result == {"answer": 42, "folder": str(tmp_path / "scratch" / "code" / "my-agent")}


def test_a_package_alone_in_an_archive_is_found_by_its_name(start: Start, tmp_path: Path) -> None:
    files = {"bidder/__init__.py": b"", "bidder/train.py": b"def train(ctx):\n    return {'found': 1}\n"}
    outcome = start("bidder.train:train", working_dir=str(an_archive(tmp_path, ".zip", files))).outcome()
    assert outcome.result == {"found": 1}


def test_a_folder_with_odd_characters_is_run(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "my agent (2) & co [x] #1 'ünïcödé 模型' %20"
    folder.mkdir()
    for name in ("train.py", "helper.py"):
        (folder / name).write_bytes(FILES[name])
    assert start("train:train", working_dir=str(folder)).outcome().result == {
        "answer": 42,
        "folder": str(folder),
    }


def test_a_folder_may_be_given_as_an_address(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "my agent"
    folder.mkdir()
    for name in ("train.py", "helper.py"):
        (folder / name).write_bytes(FILES[name])
    outcome = start("train:train", working_dir=f"file://{tmp_path}/my%20agent").outcome()
    assert outcome.result == {"answer": 42, "folder": str(folder)}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object store that jobs may name."""
    monkeypatch.setitem(domain.SCHEMES, "memory", "memory")
    found = fsspec.filesystem("memory")
    yield found
    found.rm("/code", recursive=True)


def test_an_archive_behind_an_address_is_fetched(start: Start, tmp_path: Path, storage: Any) -> None:
    storage.pipe_file("/code/a.tar.gz", an_archive(tmp_path, ".tar.gz", FILES).read_bytes())
    outcome = start("train:train", working_dir="memory://code/a.tar.gz").outcome()
    assert outcome.result == {"answer": 42, "folder": str(tmp_path / "scratch" / "code")}
    assert not (tmp_path / "scratch" / "fetched.tar.gz").exists()


def test_an_address_with_nothing_behind_it_is_named(start: Start, storage: Any) -> None:
    storage.pipe_file("/code/other.zip", b"")
    outcome = start("train:train", working_dir="memory://code/a.zip").outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert outcome.message == "There is no archive at 'memory://code/a.zip'."


def test_a_host_that_does_not_answer_costs_a_retry(start: Start) -> None:
    outcome = start("train:train", working_dir="https://127.0.0.1:9/code.zip").outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "The archive at 'https://127.0.0.1:9/code.zip' could not be fetched" in outcome.message


#: id: (what is made at the path, words of the message)
NO_FOLDERS = {
    "nothing": "it does not exist",
    "a file": "is no folder on the node",
    "a file on the way": "it does not exist",
    "a pipe": "is no folder on the node",
    "a circle": "leads round in a circle",
    "a broken link": "it does not exist",
    "a broken archive": "cannot be unpacked as .zip",
    "a cut archive": "cannot be unpacked as .tar.gz",
}


def a_place(folder: Path, case: str) -> Path:
    path = folder / "place"
    if case == "a file":
        path.write_text("")
    elif case == "a file on the way":
        path.write_text("")
        return path / "code"
    elif case == "a pipe":
        os.mkfifo(path)
    elif case == "a circle":
        path.symlink_to(path)
    elif case == "a broken link":
        path.symlink_to(folder / "nowhere")
    elif case == "a broken archive":
        path = folder / "place.zip"
        path.write_text("no archive")
    elif case == "a cut archive":
        whole = a_tar(folder / "whole.tar.gz", "w:gz", {"x": os.urandom(100_000)})
        path = folder / "place.tar.gz"
        path.write_bytes(whole.read_bytes()[:50_000])
    return path


@pytest.mark.parametrize("case", NO_FOLDERS)
def test_code_that_is_not_there_is_a_mistake_of_the_version_that_names_the_place(
    start: Start, link: FakeLink, tmp_path: Path, case: str
) -> None:
    path = a_place(tmp_path, case)
    outcome = start("train:train", working_dir=str(path)).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert NO_FOLDERS[case] in outcome.message
    assert str(path) in outcome.message
    assert link.points == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir(mode=0)
    outcome = start("train:train", working_dir=str(tmp_path / "place")).outcome()
    assert (outcome.cause, "may not be read" in outcome.message) == (EndCause.MISCONFIGURED, True)


def test_a_name_past_what_a_system_allows_is_refused_and_not_a_loss(start: Start) -> None:
    outcome = start("train:train", working_dir="/" + "d" * 300).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "too long" in outcome.message


OUTSIDE = "outside of it"
#: id: (the archive, words of the message)
UNSAFE: dict[str, tuple[Any, str]] = {
    "climbs": (lambda f: a_zip(f / "a.zip", {"../evil": b"x"}), OUTSIDE),
    "climbs from a folder": (lambda f: a_zip(f / "a.zip", {"a/../../evil": b"x"}), OUTSIDE),
    "is absolute": (lambda f: a_zip(f / "a.zip", {"/tmp/evil": b"x"}), OUTSIDE),
    "climbs with backslashes": (lambda f: a_zip(f / "a.zip", {"..\\evil": b"x"}), OUTSIDE),
    "climbs in a tar": (lambda f: a_tar(f / "a.tar", "w", {"../evil": b"x"}), OUTSIDE),
    "is absolute in a tar": (lambda f: a_tar(f / "a.tar", "w", {"/tmp/evil": b"x"}), OUTSIDE),
    "links out": (lambda f: a_zip(f / "a.zip", {}, {"link": "../../etc"}), "leads out of it"),
    "links to the system": (
        lambda f: a_tar(f / "a.tar", "w", {}, (a_member("link", tarfile.SYMTYPE, "/etc/passwd"),)),
        "leads out of it",
    ),
    "links out behind a link": (
        lambda f: a_tar(
            f / "a.tar",
            "w",
            {},
            (a_member("a", tarfile.SYMTYPE, "."), a_member("b", tarfile.SYMTYPE, "a/../..")),
        ),
        "leads out of it",
    ),
    "holds a pipe": (
        lambda f: a_tar(f / "a.tar", "w", {}, (a_member("pipe", tarfile.FIFOTYPE),)),
        "neither a file, a folder nor a symbolic link",
    ),
    "holds a device": (
        lambda f: a_tar(f / "a.tar", "w", {}, (a_member("null", tarfile.CHRTYPE),)),
        "neither a file, a folder nor a symbolic link",
    ),
    "names a file of the system": (
        lambda f: a_tar(f / "a.tar", "w", {}, (a_member("passwd", tarfile.LNKTYPE, "/etc/passwd"),)),
        "cannot be unpacked",
    ),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_archive_is_refused_that(start: Start, tmp_path: Path, case: str) -> None:
    make, words = UNSAFE[case]
    before = {path.name for path in tmp_path.iterdir()}
    outcome = start("train:train", working_dir=str(make(tmp_path))).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert words in outcome.message
    assert "evil" not in {path.name for path in tmp_path.rglob("*")} | before


def test_a_file_is_never_written_through_a_link_of_the_archive(start: Start, tmp_path: Path) -> None:
    path = a_tar(tmp_path / "a.tar", "w", {}, (a_member("x", tarfile.SYMTYPE, "y"),))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("x/evil")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    outcome = start("train:train", working_dir=str(path)).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED


def test_links_and_modes_within_an_archive_are_kept(start: Start, tmp_path: Path) -> None:
    members = (
        a_member("link.py", tarfile.SYMTYPE, "helper.py"),
        a_member("second.py", tarfile.LNKTYPE, "helper.py"),
    )
    path = a_tar(tmp_path / "a.tar", "w", FILES, members)
    assert start("train:train", working_dir=str(path)).outcome().cause is EndCause.SUCCESS
    folder = tmp_path / "scratch" / "code"
    assert os.readlink(folder / "link.py") == "helper.py"  # noqa: PTH115
    assert (folder / "second.py").read_bytes() == FILES["helper.py"]
    assert (folder / "bin" / "run.sh").stat().st_mode & 0o777 == 0o755


def test_an_archive_that_grows_too_much_is_refused(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "MAX_UNPACKED_BYTES", 1024**2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(4 * 1024**2))
    outcome = start("train:train", working_dir=str(tmp_path / "a.zip")).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "holds more than" in outcome.message


def test_without_a_working_folder_a_job_runs_in_its_scratch_folder(start: Start, tmp_path: Path) -> None:
    outcome = start("python nope.py", working_dir=None).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert str(tmp_path / "scratch") in outcome.message
