"""Checkpoints: complete or absent, and restored to the byte or refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fake_link import FakeLink, Start
from fsspec.implementations.local import LocalFileSystem

from gaelp_ray.domain.attempts import ResumePoint
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import checkpoints
from gaelp_ray.training.checkpoints import FILES, MANIFEST, CheckpointCorrupt, Saved

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
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(uri: str, name: str, content: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(uri)
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
        with pytest.raises(OSError, match="the power is gone"):
            checkpoints.save(folder, uri)
    assert (tmp_path / "checkpoint" / FILES / "weights.bin").exists()
    with pytest.raises(CheckpointCorrupt, match="never complete"):
        checkpoints.restore(uri, "0" * 64, tmp_path / "target")
    again = checkpoints.save(folder, uri)
    assert contents(checkpoints.restore(uri, again.digest, tmp_path / "target")) == FILE_CONTENTS


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


def test_a_corrupt_checkpoint_ends_the_attempt_before_it_starts(
    start: Start, link: FakeLink, folder: Path, tmp_path: Path
) -> None:
    saved = checkpoints.save(folder, str(tmp_path / "checkpoint"))
    put(saved.uri, f"{FILES}/weights.bin", b"tampered")
    outcome = start("jobs:count", resume_from=resume(5, saved)).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "weights.bin in the checkpoint" in outcome.message
    assert (link.points, link.output) == ([], "")


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
