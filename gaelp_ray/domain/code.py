"""Where a job's code lies: a folder or an archive, on the node or behind an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from unicodedata import category
from urllib.parse import unquote, urlsplit

from gaelp_ray.domain.errors import InvalidInput

#: Archives by how their names end, the longest first.
ARCHIVES = (".tar.bz2", ".tar.gz", ".tar.xz", ".tgz", ".tar", ".zip")
#: Of an address -> what fsspec calls the storage behind it.
SCHEMES = {
    "https": "https",
    "s3": "s3",
    "gs": "gs",
    "gcs": "gs",
    "azure": "az",
    "az": "az",
    "abfs": "abfs",
    "abfss": "abfss",
}
#: What Linux allows (limits.h): bytes of a path, and of one name in it.
_PATH_MAX, _NAME_MAX = 4095, 255

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_EXPECTED = (
    "an absolute path or a URI: of a folder or archive that every node sees, or of an archive such as "
    f"s3://bucket/code.zip (archives: {', '.join(sorted(ARCHIVES))}; schemes: file, {', '.join(SCHEMES)})"
)


@dataclass(frozen=True)
class Code:
    """A ``working_dir``, understood."""

    #: On the node; empty where it is behind an address.
    path: str = ""
    #: As fsspec takes it; empty where it is on the node.
    address: str = ""
    #: How the archive's name ends; empty for what does not look like one.
    archive: str = ""


def read(working_dir: str) -> Code:
    """Raises ``InvalidInput`` for what can be neither a folder nor an archive."""
    if not _is_text(working_dir):
        raise InvalidInput("`working_dir` must be text without control characters; give a plain path.")
    found = _SCHEME.match(working_dir)
    if found is None:
        return _on_the_node(working_dir, working_dir)
    scheme = found[1].lower()
    if scheme == "file":
        parts = urlsplit(working_dir)
        local = parts.netloc in ("", "localhost")
        return _on_the_node(unquote(parts.path) if local else "", working_dir)
    if scheme not in SCHEMES or "::" in working_dir or len(working_dir) > _PATH_MAX:
        raise _refusal(working_dir)
    rest = working_dir[found.end() :]
    archive = _archive(rest.partition("?")[0] if scheme == "https" else rest)
    if not archive or rest.find("/") < 1:
        raise _refusal(working_dir)
    return Code(address=f"{SCHEMES[scheme]}://{rest}", archive=archive)


def _on_the_node(path: str, given: str) -> Code:
    if not path.startswith("/") or not _is_text(path):
        raise _refusal(given)
    if len(path.encode()) > _PATH_MAX or any(len(part.encode()) > _NAME_MAX for part in path.split("/")):
        raise InvalidInput(
            f"`working_dir` is too long: a path has at most {_PATH_MAX} bytes, a name in it {_NAME_MAX}; "
            f"got {len(path.encode())} bytes, {given[:80]!r}..."
        )
    return Code(path=path, archive=_archive(path))


def _is_text(path: str) -> bool:
    return not any(category(character) in ("Cc", "Cs") for character in path)


def _archive(name: str) -> str:
    return next((end for end in ARCHIVES if name.lower().endswith(end)), "")


def _refusal(given: str) -> InvalidInput:
    return InvalidInput(f"`working_dir` must be {_EXPECTED}; got {given[:200]!r}.")
