"""The packages a training process runs with: the service's, or an environment of the job's own beside them.

An environment holds what a job asks for and the service does not have in a version that suits; everything
else is found where the service has it, after the job's own. It belongs to the requirements, the Python and
the service's packages, and is made once on a node: whoever needs it waits for whoever makes it. It is
complete when its file ``complete.json`` is there, which is written last: what a killed maker left has none
and is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import site
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gaelp_ray
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.packages import OWN_NAME, check_requirements
from gaelp_ray.training.preparation import Ended, Finished, Preparation, ends

COMPLETE = "complete.json"
#: Never handed down to an installer: the service's own settings, credentials and the cluster's tokens.
WITHHELD = ("GAELP_", "RAY_", "REDIS_", "PYTHON")
#: How often it is looked whether another has made the environment.
WAIT_S = 0.1
_SELF_TEST = "import gaelp_ray.training.child"
#: Sorts after every other of its kind, so that the service's packages come last.
_PATHS_FILE = "zzzz-service.pth"
_INSTALLER = "gaelp"

_PIP_CONFLICT = "The conflict is caused by:"
# What installers and build tools say of a network or an index that does not answer. Both pip and uv speak of
# "no matching distribution" or "no solution" only as far as they could look, so this is asked first.
_UNREACHABLE = re.compile(
    r"connection (broken|refused|reset|aborted|closed)|timed? ?out|failure in name resolution"
    r"|name or service not known|nodename nor servname|dns error|failed to lookup|network is unreachable"
    r"|no route to host|error sending request|failed to establish a new connection|max retries exceeded"
    r"|http status server error|server error for url|too many requests"
    r"|(http error|status code:?) (5\d\d|429)",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded|read-only file system", re.IGNORECASE)


@dataclass(frozen=True)
class Packages:
    """What a training process imports from."""

    python: str
    #: Where modules are looked for beside what the Python finds by itself.
    paths: Sequence[str] = ()
    #: Comes first where programs are looked for; None: as the service has it.
    programs: str | None = None


def of_the_service() -> Packages:
    return Packages(sys.executable, tuple(sys.path))


@dataclass(frozen=True)
class Installation:
    """How and where environments are made on a node."""

    #: A folder that only the service writes to.
    root: Path
    installer: str = "auto"
    timeout_s: float = 1800.0
    #: Environments that nobody uses are removed, the longest unused first, until the rest is smaller.
    limit_bytes: int = 20 * 1024**3


@contextlib.contextmanager
def for_job(
    requirements: Sequence[str], place: Installation, preparation: Preparation, scratch: Path
) -> Iterator[Packages]:
    """The packages of a job, held for the time of the block.

    To be entered in ``preparation``'s work. Raises ``Ended`` where the requirements cannot be met, and
    ``InvalidInput`` where they are none.
    """
    wanted = check_requirements(requirements)
    if not wanted:
        yield of_the_service()
        return
    maker = _Maker(wanted, place, preparation, scratch)
    with contextlib.ExitStack() as held:
        try:
            folder = maker.folder
            lock = held.enter_context(_locked(place.root, folder.name))
            maker.complete(lock)
        except OSError as error:
            raise _unready(f"an environment could not be made in {place.root} ({error})") from error
        yield Packages(str(folder / "bin" / "python"), programs=str(folder / "bin"))


class _Maker:
    """Makes one environment, unless it is there."""

    def __init__(
        self, wanted: Sequence[str], place: Installation, preparation: Preparation, scratch: Path
    ) -> None:
        self._wanted = wanted
        self._place = place
        self._preparation = preparation
        self._scratch = scratch
        self._paths = _service_paths()
        self.folder = place.root / self._name()

    def _name(self) -> str:
        """Equal for what may share an environment. An environment cannot be moved, so its place is a part."""
        packages = [sorted(each.name for each in _listed(path)) for path in self._paths]
        parts = [self._wanted, sys.version, sysconfig.get_platform(), os.path.realpath(sys.executable)]
        text = json.dumps([*parts, sys.prefix, str(self._place.root), self._paths, packages])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def complete(self, lock: int) -> None:
        """Have it complete, and the lock held so that nobody removes it."""
        came = time.time()
        done = self.folder / COMPLETE
        while True:
            try:
                if self._is_complete():
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    os.utime(done)
                    return
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._is_complete():
                    self._make(lock, came)
            except BlockingIOError:
                self._preparation.pause(WAIT_S)
            except FileNotFoundError:
                if self._is_complete():
                    raise
                # It was removed between the look and the lock.
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _is_complete(self) -> bool:
        """Also that the Python it was made with is still there."""
        return (self.folder / COMPLETE).exists() and (self.folder / "bin" / "python").exists()

    def _make(self, lock: int, came: float) -> None:
        failure = self.folder.with_suffix(".failed")
        self._fail_as(failure, came)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._preparation.say(f"gaelp: installing {', '.join(self._wanted)}")
        started = time.monotonic()
        try:
            self._install(lock)
        except Ended as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            outcome = error.outcome
            failure.write_text(json.dumps({"cause": outcome.cause, "message": outcome.message}))
            raise
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        # The files before the word that they are there.
        os.sync()
        size = sum(path.lstat().st_blocks * 512 for path in self.folder.rglob("*"))
        part = self.folder / f"{COMPLETE}.part"
        part.write_text(json.dumps({"requirements": list(self._wanted), "size_bytes": size}))
        part.replace(self.folder / COMPLETE)
        self._preparation.say(f"gaelp: installed in {time.monotonic() - started:.1f} s")
        prune(self._place, keep=self.folder.name)

    @staticmethod
    def _fail_as(failure: Path, came: float) -> None:
        """Who waited while another tried need not try the same again."""
        with contextlib.suppress(FileNotFoundError):
            if failure.stat().st_mtime > came:
                told = json.loads(failure.read_text())
                raise ends(EndCause(told["cause"]), told["message"])

    def _install(self, lock: int) -> None:
        python = str(self.folder / "bin" / "python")
        made = self._run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)], lock)
        if made.status != 0:
            raise _unready(f"an environment could not be made ({_last(made.words)})")
        packages = self._packages_folder()
        listed = _list_as_installed(self._paths, packages)
        # What a package needs may name it too; nothing may replace the service's own.
        constraints = self._scratch / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in _own_version(self._paths)))
        installer = _installer(self._place)
        # Each of them begins with a name, so none is taken for an option.
        done = self._run([*installer(python), "-c", str(constraints), *self._wanted], lock)
        if done.status != 0:
            raise _failure(done)
        for folder in listed:
            if (folder / "INSTALLER").is_file() and (folder / "INSTALLER").read_text() == _INSTALLER:
                shutil.rmtree(folder)
        (packages / _PATHS_FILE).write_text(_paths_line(self._paths))
        if (packages / "gaelp_ray").exists():
            raise ends(EndCause.MISCONFIGURED, "Its `requirements` bring a package `gaelp_ray` of their own.")
        tested = self._run([python, "-c", _SELF_TEST], lock)
        if tested.status != 0:
            raise ends(
                EndCause.MISCONFIGURED,
                f"With its `requirements` a training process cannot start: {_last(tested.words)}",
            )

    def _packages_folder(self) -> Path:
        """Never anywhere but in the environment itself."""
        where = {"base": str(self.folder), "platbase": str(self.folder)}
        folder = Path(sysconfig.get_path("purelib", scheme="venv", vars=where))
        if not folder.is_dir() or not folder.is_relative_to(self.folder):
            raise _unready(f"the environment {self.folder} has no folder for packages")
        return folder

    def _run(self, command: Sequence[str], lock: int) -> Finished:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(WITHHELD)}
        environment |= {"TMPDIR": str(self._scratch), "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
        environment |= {"PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        try:
            return self._preparation.command(
                command,
                environment=environment,
                python=sys.executable,
                timeout_s=self._place.timeout_s,
                # An installer that outlives its supervisor holds the lock as long as it writes.
                keep_open=[lock],
            )
        except TimeoutError:
            raise ends(
                EndCause.USER_ERROR,
                f"Installing its `requirements` took longer than {self._place.timeout_s:g} s.",
            ) from None


@contextlib.contextmanager
def _locked(root: Path, name: str) -> Iterator[int]:
    """An open lock file, not locked yet. The system unlocks it when its last holder is gone."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def prune(place: Installation, *, keep: str = "") -> list[str]:
    """Remove what nobody uses: half-made environments, and complete ones past the limit, oldest use first.

    Returns their names.
    """
    found: list[tuple[float, int, Path]] = []
    for folder in place.root.iterdir():
        if folder.is_dir() and folder.name != keep:
            found.append((*_use_of(folder), folder))
    total = _use_of(place.root / keep)[1] if keep else 0
    removed = []
    for _, size, folder in sorted(found, reverse=True):
        total += size
        if (size == 0 or total > place.limit_bytes) and _remove(place.root, folder):
            total -= size
            removed.append(folder.name)
    return removed


def _use_of(folder: Path) -> tuple[float, int]:
    """When it was last asked for, and its size; zeros for what is not complete."""
    try:
        size = int(json.loads((folder / COMPLETE).read_text())["size_bytes"])
        return (folder / COMPLETE).stat().st_mtime, max(1, size)
    except (OSError, ValueError, KeyError):
        return 0.0, 0


def _remove(root: Path, folder: Path) -> bool:
    """False: somebody uses or makes it."""
    with _locked(root, folder.name) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Whatever happens in between, it is no complete environment any more.
        (folder / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".failed").unlink(missing_ok=True)
        return True


def _service_paths() -> list[str]:
    """Where the service's own packages are found: its Python's folders, and what the operator added.

    What Ray adds for a driver or a worker is left out: it is another in each.
    """
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    mine = str(Path(gaelp_ray.__file__).parents[1])
    wanted = {*_site_folders(), *map(os.path.realpath, filter(None, added)), os.path.realpath(mine)}
    paths = (os.path.realpath(path) for path in sys.path if path)
    return [path for path in dict.fromkeys(paths) if path in wanted and Path(path).is_dir()]


def _site_folders() -> set[str]:
    return {os.path.realpath(path) for path in (*site.getsitepackages(), site.getusersitepackages())}


def _paths_line(paths: Sequence[str]) -> str:
    """A line for ``site``: folders of packages with their own ``.pth`` files, others as they are."""
    folders = _site_folders()
    adds = [f"site.addsitedir({p!r})" if p in folders else f"sys.path.append({p!r})" for p in paths]
    return f"import sys, site; {'; '.join(adds)}\n"


def _listed(folder: str) -> list[Path]:
    return list(Path(folder).glob("*.dist-info"))


def _own_version(paths: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (OWN_NAME, found.name.removesuffix(".dist-info").partition("-")[2])
        for path in paths
        for found in _listed(path)
        if found.name.startswith("gaelp_ray-")
    ][:1]


def _list_as_installed(paths: Sequence[str], packages: Path) -> list[Path]:
    """Tell an installer what the service has, so that it installs only what is missing or does not suit.

    Each is a record without files: an installer that replaces the package removes nothing but the record.
    """
    listed = []
    for found in (each for path in paths for each in _listed(path)):
        record = packages / found.name
        metadata = found / "METADATA"
        if record.exists() or not metadata.is_file():
            continue
        record.mkdir()
        text = metadata.read_bytes()
        if found.name.startswith("gaelp_ray-"):
            # What the service needs, a training process does not.
            text = re.sub(rb"(?m)^(Requires-Dist|Provides-Extra):.*\n", b"", text)
        (record / "METADATA").write_bytes(text)
        (record / "INSTALLER").write_text(_INSTALLER)
        names = ("METADATA", "INSTALLER", "RECORD")
        (record / "RECORD").write_text("".join(f"{found.name}/{name},,\n" for name in names))
        listed.append(record)
    return listed


class _Uv:
    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, python: str) -> list[str]:
        return [self._program, "pip", "install", "--python", python]


class _Pip:
    def __call__(self, python: str) -> list[str]:
        quick = ("--no-compile", "--no-warn-conflicts", "--no-warn-script-location")
        return [sys.executable, "-m", "pip", "--python", python, "install", *quick]


def _installer(place: Installation) -> _Uv | _Pip:
    """uv where the node has it, else the service's pip."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is not None and place.installer != "pip":
        return _Uv(uv)
    if place.installer != "uv" and importlib.util.find_spec("pip") is not None:
        return _Pip()
    wanted = "uv" if place.installer == "uv" else "Neither uv nor pip"
    raise ends(
        EndCause.MISCONFIGURED,
        f"Its `requirements` cannot be installed: {wanted} is not installed on this node; "
        f"ask whoever runs the service.",
    )


def _failure(done: Finished) -> Ended:
    """What an installer that failed means for the attempt.

    The network, the index and the disk are not the job's fault: it is tried again. Everything else, the
    resolver's "no" above all, comes again however often it is tried.
    """
    words = "\n".join(done.words)
    if done.status < 0:
        return _unready(f"the installer was killed by signal {-done.status}")
    if _NO_ROOM.search(words):
        return _unready(f"there is no room for them: {reason(done.words)}")
    if _UNREACHABLE.search(words):
        return _unready(f"the package index does not answer: {reason(done.words)}")
    return ends(EndCause.MISCONFIGURED, f"Its `requirements` cannot be installed: {reason(done.words)}")


def _unready(why: str) -> Ended:
    return ends(EndCause.NODE_LOST, f"Its `requirements` could not be installed, and are tried again: {why}.")


def reason(words: Sequence[str]) -> str:
    """Of all that an installer said, why it failed; in one line."""
    said = [" ".join(line.split()) for line in words]
    errors = [line for line in said if re.match(r"(error|cause|hint)\b", line, re.IGNORECASE)]
    # pip's last error says it best: the one before it lists every version there is.
    chosen = [line for line in errors if "(from versions:" not in line] or errors or said[-5:]
    if _PIP_CONFLICT in said:
        said = said[said.index(_PIP_CONFLICT) :]
        chosen = said[: next((n for n, line in enumerate(said) if line.startswith("To fix this")), 6)]
    return " ".join(chosen)[:1500] or "the installer said nothing"


def _last(words: Sequence[str]) -> str:
    return words[-1].strip() if words else "without a word"
