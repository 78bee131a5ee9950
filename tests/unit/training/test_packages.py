"""The packages of a job are the training process's own, whatever the service has."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_link import PATIENCE_S, FakeLink, Start

from gaelp_ray.domain.attempts import Directive, Outcome, Seat
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training import packages
from gaelp_ray.training.packages import COMPLETE, Installation, prune, reason
from gaelp_ray.training.preparation import Ended, Preparation
from gaelp_ray.training.redaction import Redactor
from tests.service import eventually
from tests.wheels import a_wheel, pointed_at

HAS_UV = shutil.which("uv") is not None or Path(sys.executable).with_name("uv").exists()
INSTALLERS = ["pip", pytest.param("uv", marks=pytest.mark.skipif(not HAS_UV, reason="no uv here"))]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only one that installers look into."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in pointed_at(folder).items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer that is done at once."""
    monkeypatch.setattr(packages, "_installer", lambda _place: lambda _python: ["/bin/true"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


@pytest.fixture
def place(root: Path) -> dict[str, Any]:
    """Fields of a workplace whose packages are installed with pip."""
    return {"installation": Installation(root, installer="pip")}


def environments(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if (folder / COMPLETE).exists()]


def folders(root: Path) -> list[Path]:
    return [each for each in root.iterdir() if each.is_dir()]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_jobs_version_wins_in_its_process_and_nowhere_else(
    start: Start, link: FakeLink, wheels: Path, root: Path, installer: str
) -> None:
    a_wheel(wheels, "fsspec", "0.6.0")
    place = {"installation": Installation(root, installer=installer)}
    outcome = start("jobs:count_with", requirements=("fsspec==0.6.0",), place=place).outcome()
    assert outcome.cause is EndCause.SUCCESS, outcome.message + link.output
    assert outcome.result is not None
    assert outcome.result["fsspec"] == "0.6.0"
    assert outcome.result["numpy"] == np.__file__, "what the service has and suits is not installed again"
    assert [step for step, _, _ in link.saved] == [1], "the supervisor's own fsspec saves the checkpoint"
    assert "gaelp: installing fsspec==0.6.0\n" in link.output


def test_packages_that_break_the_service_leave_the_training_process_alone(
    start: Start, wheels: Path, place: dict[str, Any]
) -> None:
    modules = {"protobuf": "google", "typing-extensions": "typing_extensions"}
    names = ("pydantic", "psutil", "protobuf", "ray", "packaging", "typing-extensions", "fsspec", "pyarrow")
    for name in names:
        module = modules.get(name, name)
        a_wheel(wheels, name, "0.0.1", module=module, code="raise RuntimeError('not for the service')")
    wanted = tuple(f"{name}<0.1" for name in names)
    outcome = start("jobs:succeed", requirements=wanted, place=place).outcome()
    assert (outcome.cause, outcome.message) == (EndCause.SUCCESS, "")


def test_a_training_process_imports_nothing_of_others_but_numpy() -> None:
    code = "import sys; import gaelp_ray.training.child; print(*{m.partition('.')[0] for m in sys.modules})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    started = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{m.partition('.')[0] for m in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    brought = set(said.split()) - set(started.split()) - set(sys.stdlib_module_names)
    assert {each for each in brought if not each.startswith("_sysconfigdata")} == {"gaelp_ray", "numpy"}


def test_a_broken_numpy_of_the_job_is_its_own_mistake(
    start: Start, wheels: Path, root: Path, place: dict[str, Any]
) -> None:
    a_wheel(wheels, "numpy", "0.1", code="raise ImportError('built for another machine')")
    outcome = start("jobs:succeed", requirements=("numpy<1",), place=place).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "a training process cannot start: ImportError: built for another machine" in outcome.message
    assert folders(root) == []


#: id: (requirements, words of the message)
NEVER: dict[str, tuple[tuple[str, ...], str]] = {
    "a version that is not there": (("numpy==99.99.98",), "numpy==99.99.98"),
    "a package that is not there": (("no-such-package-here",), "no-such-package-here"),
    "versions that exclude each other": (("small==1.0", "small==2.0"), "small"),
    "the service's own in another version, by another": (("greedy",), "gaelp-ray"),
}


@pytest.mark.parametrize("installer", INSTALLERS)
@pytest.mark.parametrize("case", NEVER)
def test_what_can_never_be_installed_is_said_and_not_tried_again(
    start: Start, link: FakeLink, wheels: Path, root: Path, case: str, installer: str
) -> None:
    requirements, words = NEVER[case]
    a_wheel(wheels, "small", "1.0")
    a_wheel(wheels, "small", "2.0")
    a_wheel(wheels, "greedy", "1.0", needs=("gaelp-ray==99",))
    a_wheel(wheels, "gaelp-ray", "99")
    place = {"installation": Installation(root, installer=installer)}
    outcome = start("jobs:succeed", requirements=requirements, place=place).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED, outcome.message
    assert "`requirements` cannot be installed" in outcome.message
    assert words in outcome.message
    assert words in link.output, "the installer's own words are in the log"
    assert folders(root) == [], "nothing half-made stays"


@pytest.mark.parametrize("installer", INSTALLERS)
def test_an_index_that_does_not_answer_is_not_the_jobs_fault(
    start: Start, wheels: Path, root: Path, monkeypatch: pytest.MonkeyPatch, installer: str
) -> None:
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE", "PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://ann:s3cret-pass@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://ann:s3cret-pass@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    place = {"installation": Installation(root, installer=installer)}
    outcome = start("jobs:succeed", requirements=("no-such-package-here",), place=place).outcome()
    assert outcome.cause is EndCause.NODE_LOST
    assert "the package index does not answer" in outcome.message
    assert "s3cret-pass" not in outcome.message


def test_a_password_of_the_index_is_in_no_log_and_not_in_the_process(
    start: Start, link: FakeLink, wheels: Path, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_wheel(wheels, "small", "1.0")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://ann:s3cret-pass@127.0.0.1:9/simple")
    outcome = start("jobs:show_environment", requirements=("small",), place=place).outcome()
    assert outcome.result is not None
    assert "s3cret-pass" not in json.dumps(outcome.result) + link.output
    assert [name for name in outcome.result["environment"] if name.startswith(("PIP_", "UV_"))] == []


@pytest.mark.usefixtures("instant")
def test_an_environment_is_made_once_however_many_ask(wheels: Path, root: Path, tmp_path: Path) -> None:
    links = [FakeLink() for _ in range(12)]
    found = at_the_same_time(root, tmp_path, links, ("small==1.0",))
    assert len(set(found)) == len(environments(root)) == 1
    assert sum("gaelp: installing" in link.output for link in links) == 1


def test_who_waited_for_a_failure_shares_it(wheels: Path, root: Path, tmp_path: Path) -> None:
    links = [FakeLink() for _ in range(8)]
    found = at_the_same_time(root, tmp_path, links, ("small==1.0",))
    assert {each.cause for each in found} == {EndCause.MISCONFIGURED}
    tried = sum("gaelp: installing" in link.output for link in links)
    assert tried < len(links), "those that came while the first tried do not try again"


def at_the_same_time(root: Path, tmp_path: Path, links: list[FakeLink], wanted: tuple[str, ...]) -> list[Any]:
    """What each of several attempts on a node gets: the Python to run with, or its outcome."""
    ready = threading.Barrier(len(links))
    found: list[Any] = [None] * len(links)

    def one(number: int) -> None:
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        ready.wait(PATIENCE_S)
        found[number] = installed(links[number], root, scratch, wanted)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(links))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return found


def installed(
    link: FakeLink, root: Path, scratch: Path, wanted: tuple[str, ...], **settings: Any
) -> str | Outcome:
    preparation = Preparation(link, Redactor([]))
    place = Installation(root, installer="pip", **settings)
    with ExitStack() as held:
        try:
            made = preparation.run(
                lambda: held.enter_context(packages.for_job(wanted, place, preparation, scratch))
            )
        except Ended as end:
            return end.outcome
        return made.python


@pytest.mark.usefixtures("instant")
def test_the_second_job_with_the_same_packages_installs_nothing(
    start: Start, link: FakeLink, root: Path, place: dict[str, Any]
) -> None:
    first, second = ("small", "Fsspec>=2"), ("fsspec >= 2", "small", "small")
    assert start("jobs:succeed", requirements=first, place=place, link=FakeLink()).outcome()
    outcome = start("jobs:succeed", requirements=second, place=place).outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert "installing" not in link.output
    assert len(environments(root)) == 1


@pytest.mark.usefixtures("instant")
def test_what_a_killed_maker_left_is_made_anew(
    start: Start, link: FakeLink, root: Path, place: dict[str, Any]
) -> None:
    assert start("jobs:succeed", requirements=("small",), place=place, link=FakeLink()).outcome()
    [folder] = environments(root)
    (folder / COMPLETE).unlink()
    (folder / "bin" / "python").unlink()
    outcome = start("jobs:succeed", requirements=("small",), place=place).outcome()
    assert outcome.cause is EndCause.SUCCESS
    assert "installing small" in link.output


@pytest.fixture
def slow(wheels: Path, tmp_path: Path) -> Callable[[], None]:
    """A requirement whose building waits for ever; the function waits until it does."""
    source = tmp_path / "slow-1.0"
    source.mkdir()
    started = tmp_path / "started"
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "wait"\nbackend-path = ["."]\n'
    )
    (source / "wait.py").write_text(
        f"import os, time\nfrom pathlib import Path\nparent = os.getppid()\n"
        f"Path({str(started)!r}).touch()\nwhile os.getppid() == parent: time.sleep(0.05)\n"
    )
    with tarfile.open(wheels / "slow-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "slow-1.0")

    def wait() -> None:
        eventually(started.exists, what="the package is being built")

    return wait


def test_a_cancel_is_heard_while_packages_are_installed(
    start: Start, link: FakeLink, root: Path, place: dict[str, Any], slow: Callable[[], None]
) -> None:
    attempt = start("jobs:succeed", requirements=("slow",), place=place)
    slow()
    eventually(lambda: link.beats > 0, what="the attempt shows life")
    link.directive = Directive(EndCause.CANCELLED)
    outcome = attempt.outcome()
    assert outcome.cause is EndCause.CANCELLED
    assert "before its process started" in outcome.message
    assert folders(root) == []


def test_an_installer_ends_with_a_supervisor_that_is_killed(
    wheels: Path, root: Path, slow: Callable[[], None], tmp_path: Path
) -> None:
    (tmp_path / "scratch-of-the-killed").mkdir()
    code = f"""
from pathlib import Path
from test_packages import FakeLink, installed
installed(FakeLink(), Path({str(root)!r}), Path({str(tmp_path)!r}) / "scratch-of-the-killed", ("slow",))
"""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as supervisor:
        slow()
        [lock] = root.glob("*.lock")
        supervisor.kill()
    with lock.open() as opened:
        eventually(lambda: can_lock(opened.fileno()), what="nobody writes into the environment any more")
    assert environments(root) == []
    (wheels / "slow-1.0.tar.gz").unlink()
    a_wheel(wheels, "slow", "1.0")
    assert isinstance(installed(FakeLink(), root, tmp_path / "scratch-of-the-killed", ("slow",)), str)


def can_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_a_deadline_counts_while_packages_are_installed(
    start: Start, place: dict[str, Any], slow: Callable[[], None]
) -> None:
    outcome = start("jobs:succeed", requirements=("slow",), place=place, left_s=1.0, timeout_s=60.0).outcome()
    assert outcome.cause is EndCause.DEADLINE


def test_installing_that_takes_too_long_is_ended(start: Start, root: Path, slow: Callable[[], None]) -> None:
    place = {"installation": Installation(root, installer="pip", timeout_s=2.0)}
    outcome = start("jobs:succeed", requirements=("slow",), place=place).outcome()
    assert outcome.cause is EndCause.USER_ERROR
    assert "longer than 2 s" in outcome.message


@pytest.mark.usefixtures("instant")
def test_environments_that_nobody_uses_go_when_there_is_no_room(
    wheels: Path, root: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch-of-three"
    scratch.mkdir()
    first = installed(FakeLink(), root, scratch, ("small==1.0",))
    preparation = Preparation(FakeLink(), Redactor([]))
    place = Installation(root, installer="pip", limit_bytes=0)
    with ExitStack() as held:
        second = held.enter_context(packages.for_job(("small==2.0",), place, preparation, scratch))
        assert not Path(str(first)).exists(), "it was not in use"
        third = installed(FakeLink(), root, scratch, ("small==3.0",), limit_bytes=0)
        assert Path(second.python).exists(), "it is in use"
    (root / "half-made").mkdir()
    assert len(prune(place)) == 3
    assert folders(root) == []
    assert not Path(str(third)).exists()


def test_requirements_that_came_past_the_door_are_refused_again(
    start: Start, root: Path, place: dict[str, Any]
) -> None:
    outcome = start("jobs:succeed", requirements=("--index-url=http://evil",), place=place).outcome()
    assert outcome.cause is EndCause.MISCONFIGURED
    assert "is a package's name with versions" in outcome.message


def test_a_folder_for_environments_that_cannot_be_made_is_the_nodes_fault(
    start: Start, wheels: Path, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    place = {"installation": Installation(tmp_path / "a-file" / "environments", installer="pip")}
    outcome = start("jobs:succeed", requirements=("small",), place=place).outcome()
    assert outcome.cause is EndCause.NODE_LOST
    assert "an environment could not be made" in outcome.message


@pytest.mark.usefixtures("instant")
def test_each_worker_of_a_gang_has_the_packages(
    start: Start, wheels: Path, root: Path, place: dict[str, Any]
) -> None:
    members = [Member(rank, Seat("node-1"), "127.0.0.1", 29500 + rank) for rank in range(2)]
    links = [FakeLink(members=members) for _ in members]
    attempts = [
        start("jobs:succeed", requirements=("small",), place=place | {"rank": rank}, link=link, workers=2)
        for rank, link in enumerate(links)
    ]
    assert [attempt.outcome().cause for attempt in attempts] == [EndCause.SUCCESS] * 2
    assert len(environments(root)) == 1
    said = "".join(link.output for link in links)
    assert said.count("] gaelp: installing small\n") == 1, "a line of the log names its worker"


#: id: (what an installer says, the reason)
WORDS = {
    "pip": (
        [
            "Looking in links: /wheels",
            "ERROR: Could not find a version that satisfies the requirement numpy==99 (from versions: 1, 2)",
            "ERROR: No matching distribution found for numpy==99",
        ],
        "ERROR: No matching distribution found for numpy==99",
    ),
    "uv": (
        [
            "Using Python 3.11",
            "error: No solution found when resolving dependencies",
            "  cause: Because there is no version of numpy==99",
        ],
        "error: No solution found when resolving dependencies "
        "cause: Because there is no version of numpy==99",
    ),
    "another": (["it", "went  wrong"], "it went wrong"),
    "none": ([], "the installer said nothing"),
}


@pytest.mark.parametrize("case", WORDS)
def test_the_reason_is_what_matters_of_all_that_an_installer_says(case: str) -> None:
    words, expected = WORDS[case]
    assert reason(words) == expected


def test_a_package_of_the_public_index_is_installed(
    start: Start, link: FakeLink, root: Path, place: dict[str, Any]
) -> None:
    outcome = start("jobs:succeed", requirements=("wcwidth",), place=place).outcome()
    if outcome.cause is EndCause.NODE_LOST:
        pytest.skip(f"THE PACKAGE INDEX IS NOT REACHABLE FROM HERE: {outcome.message}")
    assert outcome.cause is EndCause.SUCCESS, outcome.message
