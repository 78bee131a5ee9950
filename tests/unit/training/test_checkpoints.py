"""Checkpoints: complete or absent, and restored to the byte or refused."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fake_link import FakeLink, Start
from fsspec.implementations.local import LocalFileSystem

from gaelp_ray.domain.attempts import ResumePoint, ResumePoints
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import checkpoints
from gaelp_ray.training.checkpoints import FILES, MANIFEST, CheckpointCorrupt, Saved
from gaelp_ray.training.contents import CheckpointRefused, Grounds

FILE_CONTENTS = {
    "weights.bin": bytes(range(256)) * 10,
    "deep/er/state.json": b'{"step": 5}',
    "empty": b"",
    "manifest.json": b"a trainer may have one of its own",
    "name with spaces, ümläuts & #hash": b"x",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILE_CONTENTS.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "source"


@pytest.fixture(params=["disk", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place on a disk, and one in an object store."""
    name = f"checkpoints-{uuid.uuid4()}"
    if request.param == "disk":
        yield str(tmp_path / name / "step-5")
    else:
        yield f"memory://{name}/step-5"
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(uri: str, name: str, content: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(uri)
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/{name}", content)


def remove(uri: str, name: str) -> None:
    fs, root = fsspec.core.url_to_fs(uri)
    fs.rm(f"{root}/{name}")


def test_what_is_restored_is_what_was_saved(folder: Path, uri: str, tmp_path: Path) -> None:
    saved = checkpoints.save(folder, uri)
    assert saved.uri == uri
    assert saved.size_bytes > sum(map(len, FILE_CONTENTS.values()))
    restored = checkpoints.restore(uri, saved.digest, tmp_path / "target")
    assert contents(restored) == FILE_CONTENTS


def test_equal_folders_have_equal_digests(folder: Path, tmp_path: Path) -> None:
    first = checkpoints.save(folder, str(tmp_path / "a"))
    assert checkpoints.save(folder, str(tmp_path / "b")).digest == first.digest
    (folder / "empty").write_bytes(b"not any more")
    assert checkpoints.save(folder, str(tmp_path / "c")).digest != first.digest


def test_an_empty_folder_is_a_checkpoint_too(uri: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    saved = checkpoints.save(tmp_path / "nothing", uri)
    assert checkpoints.restore(uri, saved.digest, tmp_path / "target") == tmp_path / "target"


TAMPERING = {
    "a changed byte": (f"{FILES}/weights.bin", bytes(2560), "weights.bin in the checkpoint .* not as it was"),
    "a byte more": (f"{FILES}/empty", b"x", "empty in the checkpoint .* is not as it was saved"),
    "another manifest": (MANIFEST, b'{"files": {}}', "manifest of .* is not the one that was saved"),
    "a manifest that is none": (MANIFEST, b"", "manifest of .* is not the one that was saved"),
}


@pytest.mark.parametrize("case", TAMPERING)
def test_a_checkpoint_is_refused_after(folder: Path, uri: str, tmp_path: Path, case: str) -> None:
    name, content, words = TAMPERING[case]
    saved = checkpoints.save(folder, uri)
    put(uri, name, content)
    with pytest.raises(CheckpointCorrupt, match=words):
        checkpoints.restore(uri, saved.digest, tmp_path / "target")


def test_a_missing_file_is_named(folder: Path, uri: str, tmp_path: Path) -> None:
    saved = checkpoints.save(folder, uri)
    remove(uri, f"{FILES}/deep/er/state.json")
    with pytest.raises(CheckpointCorrupt, match=r"deep/er/state\.json is missing"):
        checkpoints.restore(uri, saved.digest, tmp_path / "target")


def test_without_its_manifest_it_was_never_complete(folder: Path, uri: str, tmp_path: Path) -> None:
    saved = checkpoints.save(folder, uri)
    remove(uri, MANIFEST)
    with pytest.raises(CheckpointCorrupt, match="has no manifest; it was never complete"):
        checkpoints.restore(uri, saved.digest, tmp_path / "target")


def test_a_crash_before_the_manifest_leaves_no_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: object, **_kwargs: object) -> None:
        raise OSError("the power is gone")

    uri = str(tmp_path / "checkpoint")
    with monkeypatch.context() as failing:
        failing.setattr(LocalFileSystem, "mv", crash)
        # Nobody is left to clean up.
        failing.setattr(checkpoints, "delete", crash)
        with pytest.raises(OSError, match="the power is gone"):
            checkpoints.save(folder, uri)
    assert (tmp_path / "checkpoint" / FILES / "weights.bin").exists()
    with pytest.raises(CheckpointCorrupt, match="never complete"):
        checkpoints.restore(uri, "0" * 64, tmp_path / "target")
    again = checkpoints.save(folder, uri)
    assert contents(checkpoints.restore(uri, again.digest, tmp_path / "target")) == FILE_CONTENTS


@pytest.mark.parametrize("broken", ["pipe_file", "mv", "open"])
def test_a_save_that_fails_leaves_nothing(
    folder: Path, uri: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fs, root = fsspec.core.url_to_fs(uri)
    opened, after = type(fs).open, iter(range(3))

    def fail(self: object, *args: object, **kwargs: object) -> object:
        if broken == "open" and next(after, None) is not None:
            return opened(self, *args, **kwargs)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(type(fs), broken, fail)
        with pytest.raises(OSError, match="No space left on device"):
            checkpoints.save(folder, uri)
    assert not fs.exists(root)


def test_the_manifest_lists_every_file(folder: Path, tmp_path: Path) -> None:
    checkpoints.save(folder, str(tmp_path / "checkpoint"))
    listed = json.loads((tmp_path / "checkpoint" / MANIFEST).read_text())["files"]
    assert {name: entry["size"] for name, entry in listed.items()} == {
        name: len(content) for name, content in FILE_CONTENTS.items()
    }


def test_a_deleted_checkpoint_is_gone_and_may_be_deleted_again(folder: Path, uri: str) -> None:
    checkpoints.save(folder, uri)
    checkpoints.delete(uri)
    fs, root = fsspec.core.url_to_fs(uri)
    assert not fs.exists(root)
    checkpoints.delete(uri)


def resume(step: int, saved: Saved, **metrics: float) -> ResumePoint:
    return ResumePoint(uri=saved.uri, digest=saved.digest, step=step, metrics=metrics)


def test_a_reported_checkpoint_is_where_the_next_attempt_goes_on(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    first = start("jobs:count").outcome()
    assert first.result == {"resumed": None, "step": 1}
    [(step, saved, metrics)] = link.saved
    assert (step, metrics) == (1, {"reward": 1.0})
    assert [p.step for p in link.points_with_checkpoint] == [1], "the points that led there come with it"
    assert saved.uri == f"{tmp_path}/storage/checkpoints/job-7/attempt-1/step-000000001"
    assert Path(saved.uri, FILES, "deep", "step").read_text() == "1"

    second = start("jobs:count", number=2, resume_from=resume(step, saved, reward=1.0)).outcome()
    assert second.result == {"resumed": [1, {"reward": 1.0}], "step": 2}
    assert link.claimed_from == [None, 1]
    assert Path(link.saved[1][1].uri, FILES, "deep", "step").read_text() == "2"


def test_two_checkpoints_of_one_step_are_both_kept_whole(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    assert start("jobs:checkpoint_twice").outcome().cause is EndCause.SUCCESS
    restored = [
        checkpoints.restore(saved.uri, saved.digest, tmp_path / str(number))
        for number, (_, saved, _) in enumerate(link.saved)
    ]
    assert [contents(each) for each in restored] == [{"weights": b"first"}, {"weights": b"second"}]


def test_checkpoints_that_the_service_lets_go_are_deleted(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path
) -> None:
    old = checkpoints.save(folder, str(tmp_path / "old"))
    link.let_go = [old.uri]
    start("jobs:count").outcome()
    assert not (tmp_path / "old").exists()


def test_another_jobs_checkpoint_is_laid_out_for_an_evaluation(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "weights").write_text("good ones")
    saved = checkpoints.save(tmp_path / "trained", str(tmp_path / "other-job"))
    outcome = start("jobs:read_input", input_checkpoint=resume(9, saved)).outcome()
    assert outcome.result == {"weights": "good ones"}
    assert link.claimed_from == [None]


def spoil(saved: Saved, how: str) -> None:
    if how == "gone":
        checkpoints.delete(saved.uri)
    elif how == "cut off":
        remove(saved.uri, MANIFEST)
    else:
        put(saved.uri, f"{FILES}/weights.bin", b"tampered")


@pytest.mark.parametrize("how", ["gone", "cut off", "tampered with"])
def test_a_job_falls_back_to_the_checkpoint_before_one_that_is(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path, how: str
) -> None:
    newest = checkpoints.save(folder, str(tmp_path / "newest"))
    (tmp_path / "before" / "deep").mkdir(parents=True)
    (tmp_path / "before" / "deep" / "step").write_text("3")
    before = checkpoints.save(tmp_path / "before", str(tmp_path / "older"))
    spoil(newest, how)
    points = resume(9, newest), resume(3, before)
    link.known = ResumePoints(own=points)
    outcome = start("jobs:count", resume_from=points[0]).outcome()
    assert outcome.result == {"resumed": [3, {}], "step": 4}
    [(step, words)] = link.resumed_at
    assert step == 3
    assert str(tmp_path / "newest") in words
    assert words.endswith("So it goes on from step 3.")
    assert words in link.output


def test_a_job_without_a_checkpoint_that_is_whole_starts_from_the_beginning(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path
) -> None:
    saved = checkpoints.save(folder, str(tmp_path / "checkpoint"))
    spoil(saved, "gone")
    link.known = ResumePoints(own=(resume(9, saved),))
    outcome = start("jobs:count", resume_from=resume(9, saved)).outcome()
    assert outcome.result == {"resumed": None, "step": 1}
    [(step, words)] = link.resumed_at
    assert step is None
    assert words.endswith("So it starts from the beginning.")


def test_storage_that_does_not_answer_is_no_reason_to_start_from_the_beginning(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError("the mount is gone")

    saved = checkpoints.save(folder, str(tmp_path / "checkpoint"))
    monkeypatch.setattr(LocalFileSystem, "cat_file", refuse)
    outcome = start("jobs:count", resume_from=resume(9, saved)).outcome()
    assert outcome.cause is EndCause.NODE_LOST
    assert "could not be read: the mount is gone" in outcome.message
    assert link.resumed_at == []


def test_an_evaluation_works_on_what_is_left_of_the_other_job(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path
) -> None:
    gone = checkpoints.save(folder, str(tmp_path / "gone"))
    spoil(gone, "gone")
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "weights").write_text("good ones")
    newer = checkpoints.save(tmp_path / "trained", str(tmp_path / "newer"))
    link.known = ResumePoints(inputs=(resume(10, newer), resume(9, gone)))
    outcome = start("jobs:read_input", input_checkpoint=resume(9, gone), from_job=5).outcome()
    assert outcome.result == {"weights": "good ones"}


@pytest.mark.parametrize("known", [True, False])
def test_an_evaluation_of_nothing_never_starts(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path, known: bool
) -> None:
    gone = resume(9, checkpoints.save(folder, str(tmp_path / "gone")))
    checkpoints.delete(gone.uri)
    link.known = ResumePoints(inputs=(gone,) if known else ())
    outcome = start("jobs:read_input", input_checkpoint=gone if known else None, from_job=5).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "Job 5, which `from_job` names, has no checkpoint that can be read." in outcome.message


def test_a_checkpoint_is_found_where_the_storage_has_moved(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    first = start("jobs:count").outcome()
    assert first.result == {"resumed": None, "step": 1}
    [(step, saved, _)] = link.saved
    assert saved.address == "checkpoints/job-7/attempt-1/step-000000001"
    (tmp_path / "storage").rename(tmp_path / "elsewhere")
    point = ResumePoint(saved.uri, saved.digest, step, {}, saved.address)
    outcome = start(
        "jobs:count", number=2, resume_from=point, storage_uri=str(tmp_path / "elsewhere"), link=FakeLink()
    ).outcome()
    assert outcome.result == {"resumed": [1, {}], "step": 2}


def test_a_checkpoint_in_an_earlier_storage_is_found_there(
    start: Start, link: FakeLink, tmp_path: Path
) -> None:
    start("jobs:count").outcome()
    [(step, saved, _)] = link.saved
    point = ResumePoint(saved.uri, saved.digest, step, {}, saved.address)
    outcome = start(
        "jobs:count", number=2, resume_from=point, storage_uri=str(tmp_path / "new"), link=FakeLink()
    ).outcome()
    assert outcome.result == {"resumed": [1, {}], "step": 2}


#: What a folder looks like: each thing in it with its mode, and what links say.
def looks(folder: Path) -> dict[str, tuple[int | None, str]]:
    def look(path: Path) -> tuple[int | None, str]:
        if path.is_symlink():
            return None, os.readlink(path)  # noqa: PTH115 - as it is written
        return path.stat().st_mode & 0o777, "" if path.is_dir() else path.read_text()

    return {str(path.relative_to(folder)): look(path) for path in (folder, *folder.rglob("*"))}


def test_links_empty_folders_and_modes_are_restored_as_they_were(uri: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("step-1", "step-1/empty", "read only"):
        (source / name).mkdir(parents=True)
    (source / "step-1" / "run.sh").write_text("#!/bin/sh")
    (source / "step-1" / "run.sh").chmod(0o755)
    (source / "step-1" / "key").write_text("secret")
    (source / "step-1" / "key").chmod(0o400)
    (source / "read only" / "x").write_text("x")
    (source / "latest").symlink_to("step-1/")
    (source / "step-1" / "up").symlink_to("../latest/./run.sh")
    (source / "to itself").symlink_to(".")
    (source / "dangling").symlink_to("not there yet")
    for name, mode in {"step-1": 0o755, "step-1/empty": 0o700, "read only": 0o555, ".": 0o750}.items():
        (source / name).chmod(mode)
    saved = checkpoints.save(source, uri)
    restored = checkpoints.restore(uri, saved.digest, tmp_path / "target")
    assert looks(restored) == looks(source)
    again = checkpoints.restore(uri, saved.digest, tmp_path / "target")
    assert looks(again) == looks(source), "into a folder that had it already"


def test_two_names_of_one_file_become_two_files(uri: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("x")
    os.link(tmp_path / "source" / "a", tmp_path / "source" / "b")
    saved = checkpoints.save(tmp_path / "source", uri)
    restored = checkpoints.restore(uri, saved.digest, tmp_path / "target")
    assert contents(restored) == {"a": b"x", "b": b"x"}


def test_a_checkpoint_of_an_earlier_release_is_restored(folder: Path, uri: str, tmp_path: Path) -> None:
    checkpoints.save(folder, uri)
    fs, root = fsspec.core.url_to_fs(uri)
    listed = json.loads(fs.cat_file(f"{root}/{MANIFEST}"))["files"]
    old = json.dumps({"files": {n: {k: e[k] for k in ("size", "sha256")} for n, e in listed.items()}})
    put(uri, MANIFEST, old.encode())
    restored = checkpoints.restore(uri, hashlib.sha256(old.encode()).hexdigest(), tmp_path / "target")
    assert contents(restored) == FILE_CONTENTS


@pytest.mark.parametrize(
    "listed",
    [
        {"files": {"../evil": {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}}},
        {"files": {"/tmp/evil": {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}}},
        {"files": {}, "folders": {"../evil": {"mode": 0o755}}},
        {"files": {}, "links": {"a": {"target": "../evil"}}},
        {"files": {}, "links": {"a": {"target": "/etc"}}},
        {"files": {}, "links": {"../evil": {"target": "x"}}},
    ],
)
def test_a_manifest_never_leads_out_of_the_folder(uri: str, tmp_path: Path, listed: dict[str, Any]) -> None:
    manifest = json.dumps(listed).encode()
    put(uri, MANIFEST, manifest)
    with pytest.raises(CheckpointCorrupt, match="out"):
        checkpoints.restore(uri, hashlib.sha256(manifest).hexdigest(), tmp_path / "deep" / "target")
    assert not (tmp_path / "deep" / "evil").exists()


def test_a_changed_mode_or_link_is_found_by_the_digest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("x")
    (source / "link").symlink_to("a")
    digests = {checkpoints.save(source, str(tmp_path / "0")).digest}
    (source / "a").chmod(0o755)
    digests.add(checkpoints.save(source, str(tmp_path / "1")).digest)
    (source / "link").unlink()
    (source / "link").symlink_to("./a")
    digests.add(checkpoints.save(source, str(tmp_path / "2")).digest)
    assert len(digests) == 3


def a_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


def a_linked_file(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_text("signing secret")
    os.link(outside, path)


#: id: (what is put into the folder, words of the refusal)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a system file": (lambda p: p.symlink_to("/etc/passwd"), "leads to '/etc/passwd', out of the"),
    "a link to a system folder": (lambda p: p.symlink_to("/etc"), "out of the folder"),
    "an absolute link into the folder": (lambda p: p.symlink_to(p.parent / "good"), "relative path"),
    "a link that climbs out": (lambda p: p.symlink_to("../secret"), "out of the folder"),
    "a link that climbs out and back": (lambda p: p.symlink_to(f"../{p.parent.name}/good"), "out of the"),
    "a link that climbs behind another": (lambda p: p.symlink_to("to itself/../x"), "out of the folder"),
    "a second name of a file outside": (a_linked_file, "has another name outside of the folder"),
    "a pipe": (os.mkfifo, "neither a file, a folder nor a symbolic link"),
    "a socket": (a_socket, "neither a file, a folder nor a symbolic link"),
    "a name that is not UTF-8": (
        lambda p: Path(os.fsdecode(bytes(p.parent) + b"/\xff")).write_text(""),
        "is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_kept_of_a_folder_with(uri: str, tmp_path: Path, case: str) -> None:
    put_into, words = REFUSED[case]
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "good").write_text("x")
    (source / "to itself").symlink_to(".")
    put_into(source / "bad")
    with pytest.raises(CheckpointRefused, match=words):
        checkpoints.save(source, uri)
    fs, root = fsspec.core.url_to_fs(uri)
    assert not fs.exists(root)


@pytest.mark.parametrize("change", ["written to", "replaced by a link", "removed", "joined by another"])
def test_a_folder_that_changes_while_it_is_copied_is_refused(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text("x" * 100)
    put_file = checkpoints._put

    def meddle(contents: Any, entry: Any, fs: Any, target: str) -> str:
        path = source / "b"
        if entry.name == "a":
            if change == "written to":
                path.write_text("y" * 100)
            elif change == "joined by another":
                (source / "c").write_text("new")
            else:
                path.unlink()
            if change == "replaced by a link":
                path.symlink_to("/etc/passwd")
        return put_file(contents, entry, fs, target)

    monkeypatch.setattr(checkpoints, "_put", meddle)
    with pytest.raises(CheckpointRefused, match=r"changed while|leads to"):
        checkpoints.save(source, uri)
    fs, root = fsspec.core.url_to_fs(uri)
    assert not fs.exists(root)


#: id: (where the folder lies, whether it is kept)
PLACES = {
    "scratch/checkpoint": True,
    "scratch": True,
    "work/runs/checkpoint": True,
    "work": False,
    "work/home/secrets": False,
    "elsewhere": False,
    "scratch-of-another": False,
    "work/../elsewhere": False,
    "scratch/link": False,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_checkpoint_comes_from_the_attempts_own_folders(tmp_path: Path, place: str) -> None:
    for name in ("scratch/checkpoint", "work/runs/checkpoint", "work/home/secrets", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scratch-of-another").mkdir()
    (tmp_path / "scratch" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "work" / "home" / "secrets" / "key").write_text("x")
    grounds = Grounds(tmp_path / "scratch", tmp_path / "work", private=[tmp_path / "work" / "home"])
    if place == "scratch":
        (tmp_path / "scratch" / "link").unlink()
    try:
        with contextlib.nullcontext() if PLACES[place] else pytest.raises(CheckpointRefused):
            checkpoints.save(tmp_path / place, str(tmp_path / "storage"), grounds)
    finally:
        grounds.close()
    assert (tmp_path / "storage").exists() is PLACES[place]


def test_a_working_folder_in_the_services_own_is_no_ground_for_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "home" / "secrets").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    grounds = Grounds(tmp_path / "scratch", tmp_path / "home" / "secrets", private=[tmp_path / "home"])
    with pytest.raises(CheckpointRefused, match="scratch"):
        checkpoints.save(tmp_path / "home" / "secrets", str(tmp_path / "storage"), grounds)
    grounds.close()


def test_a_folder_that_was_replaced_since_the_start_gains_nothing(tmp_path: Path) -> None:
    for name in ("scratch", "elsewhere/checkpoint"):
        (tmp_path / name).mkdir(parents=True)
    grounds = Grounds(tmp_path / "scratch")
    (tmp_path / "scratch").rename(tmp_path / "moved")
    (tmp_path / "scratch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointRefused, match="is no folder that can be read"):
        checkpoints.save(tmp_path / "scratch" / "checkpoint", str(tmp_path / "storage"), grounds)
    grounds.close()


def test_a_job_is_told_why_its_checkpoint_is_refused(start: Start, link: FakeLink, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("signing secret")
    parameters = {"link_to": str(tmp_path / "secret")}
    outcome = start("jobs:save_a_link", hyperparameters=parameters).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "could not be stored: The symbolic link 'model' leads to" in outcome.message
    assert link.saved == []
    assert [path for path in (tmp_path / "storage").rglob("*") if path.is_file()] == []


def test_a_checkpoint_of_a_foreign_folder_is_refused(start: Start, link: FakeLink, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    outcome = start("jobs:save_a_folder", hyperparameters={"folder": str(tmp_path / "foreign")}).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "`ctx.scratch()`" in outcome.message
    assert link.saved == []


def test_a_small_checkpoint_is_kept_after_a_large_one_did_not_fit(
    start: Start, link: FakeLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = checkpoints._put

    def full(contents: Any, entry: Any, fs: Any, target: str) -> str:
        held = sum(path.stat().st_size for path in (tmp_path / "storage").rglob("*") if path.is_file())
        if held + entry.size > 24_000:
            (Path(target)).write_bytes(bytes(24_000 - held))
            raise OSError(errno.ENOSPC, "No space left on device")
        return put_file(contents, entry, fs, target)

    monkeypatch.setattr(checkpoints, "_put", full)
    outcome = start("jobs:save_sizes", hyperparameters={"sizes": [9_000, 9_000, 9_000, 5]}).outcome()
    assert outcome.result == {"kept": [True, True, False, True]}
    assert len(link.saved) == 3


def test_storage_that_is_full_is_told_to_the_job(start: Start, link: FakeLink, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("no folder")
    outcome = start("jobs:count", storage_uri=str(tmp_path / "a-file")).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "The checkpoint could not be stored" in outcome.message
    assert link.saved == []


def test_a_job_never_waits_for_an_answer_that_does_not_come(start: Start, link: FakeLink) -> None:
    link.refuses_checkpoints = Unavailable("The database is away.")
    outcome = start("jobs:count").outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "could not be stored: The database is away." in outcome.message
