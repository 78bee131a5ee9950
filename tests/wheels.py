"""Packages for tests: tiny wheels in a folder that installers are pointed at, so that no index is needed."""

from __future__ import annotations

import zipfile
from pathlib import Path

#: For installers, whose own variables these are.
OFFLINE = {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "UV_OFFLINE": "1"}


def pointed_at(folder: Path) -> dict[str, str]:
    """The environment in which installers find their packages in ``folder`` and nowhere else."""
    return {**OFFLINE, "PIP_FIND_LINKS": str(folder), "UV_FIND_LINKS": str(folder)}


def a_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    needs: tuple[str, ...] = (),
    module: str | None = None,
    code: str = "",
) -> Path:
    """A package with one module that knows its version, after what ``code`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    info = f"{plain}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in needs)
    files = {
        f"{module or plain}/__init__.py": f"__version__ = {version!r}\n{code}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},,\n" for each in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as wheel:
        for each, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(each, text)
    return path
