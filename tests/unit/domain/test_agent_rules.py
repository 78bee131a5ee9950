"""What an agent and its versions may be called and made of."""

from __future__ import annotations

from typing import Any

import pytest

from gaelp_ray.domain.agents import (
    DEFAULT_ENTRYPOINT,
    check_entrypoint,
    check_environment,
    check_name,
    check_version_spec,
    is_script,
)
from gaelp_ray.domain.errors import InvalidInput
from tests.builders import a_version

NAMES = ["a", "7", "campaign-optimizer-v2", "Spring sale 2025", "a.b_c-d", "x" * 128]
NOT_NAMES = {
    "empty": "",
    "a space first": " a",
    "a dash first": "-a",
    "too long": "x" * 129,
    "a slash": "a/b",
    "a line": "a\nb",
    "a line's end": "a\n",
    "a NUL": "a\x00",
    "markup": "<b>",
    "an umlaut": "gebühr",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("case", NOT_NAMES)
def test_other_names_are_refused(case: str) -> None:
    with pytest.raises(InvalidInput, match="`name` must be 1 to 128"):
        check_name(NOT_NAMES[case])


#: entry point -> whether it is a script
ENTRYPOINTS = {
    DEFAULT_ENTRYPOINT: False,
    "train:main": False,
    "my_company.bidding.train:train": False,
    "train.py": True,
    "python train.py": True,
    "python3 train.py": True,
    "python scripts/train.py --steps 3 --name 'two words'": True,
    "./train.py": True,
}
NOT_ENTRYPOINTS = {
    "empty": "",
    "a module": "train",
    "a command": "rm -rf /",
    "a command after a script": "python -c 'import os'.py; ls",
    "a dash": "my-module:train",
    "two colons": "a:b:c",
    "a method": "a:b.c",
    "no function": "train:",
    "a digit first": "1train:main",
    "a line's end": "train:main\n",
    "a second line": "python train.py\nls",
}


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_functions_and_scripts_are_entry_points(entrypoint: str) -> None:
    assert check_entrypoint(entrypoint) == entrypoint
    assert is_script(entrypoint) is ENTRYPOINTS[entrypoint]


@pytest.mark.parametrize("case", NOT_ENTRYPOINTS)
def test_other_entry_points_are_refused(case: str) -> None:
    with pytest.raises(InvalidInput, match=r"`entrypoint` must be 'package.module:function' or a script"):
        check_entrypoint(NOT_ENTRYPOINTS[case])


VERSIONS: dict[str, dict[str, Any]] = {
    "nothing but a version": {},
    "an image": {"docker_image": "gcr.io/gaelp/optimizer:v2.0"},
    "an image with a digest": {"docker_image": "optimizer@sha256:" + "a" * 64},
    "an image in a registry with a port": {"docker_image": "registry.local:5000/a/b"},
    "a folder": {"working_dir": "/srv/jobs/bidder"},
    "a bucket": {"working_dir": "s3://bucket/code.zip"},
    "a secret's name": {"secrets": {"API_KEY": "ads-api-key"}},
    "variables": {"environment_vars": {"REGION": "eu", "_x": ""}},
}


@pytest.mark.parametrize("case", VERSIONS)
def test_a_version_may_have(case: str) -> None:
    spec = a_version(**VERSIONS[case])
    assert check_version_spec(spec) is spec


NOT_VERSIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"version": ""}, "`version` must be 1 to 64"),
    "a long version": ({"version": "1" * 65}, "`version` must be 1 to 64"),
    "a bad entry point": ({"entrypoint": "rm -rf /"}, "`entrypoint`"),
    "a command as image": ({"docker_image": "x; rm -rf /"}, "`docker_image` is not an image"),
    "an empty image": ({"docker_image": ""}, "`docker_image` is not an image"),
    "an image and a line's end": ({"docker_image": "optimizer:v2\n"}, "`docker_image` is not an image"),
    "a short digest": ({"docker_image": "optimizer@sha256:abc"}, "`docker_image` is not an image"),
    "a relative folder": ({"working_dir": "jobs/bidder"}, "`working_dir` must be an absolute path or a URI"),
    "an unknown scheme": ({"working_dir": "ftp://host/code.zip"}, "`working_dir` must be"),
    "a folder and a line's end": ({"working_dir": "/srv\n"}, "`working_dir` must be"),
    "a secret's value": ({"secrets": {"KEY": "sk-Live/123"}}, "give a name, not a value"),
    "a path to a secret": ({"secrets": {"KEY": "../../etc/passwd"}}, "give a name, not a value"),
    "a secret and a line's end": ({"secrets": {"KEY": "ads-key\n"}}, "give a name, not a value"),
    "a reserved secret": ({"secrets": {"RAY_AUTH": "a"}}, "`secrets`: 'RAY_AUTH' is reserved"),
    "a bad variable": ({"environment_vars": {"1X": "a"}}, "`environment_vars`: '1X' is not"),
}


@pytest.mark.parametrize("case", NOT_VERSIONS)
def test_a_version_may_not_have(case: str) -> None:
    fields, words = NOT_VERSIONS[case]
    with pytest.raises(InvalidInput, match=words):
        check_version_spec(a_version(**fields))


def test_a_refused_secret_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_version_spec(a_version(secrets={"KEY": "sk-live-ABCDEF123456"}))
    assert "ABCDEF123456" not in refused.value.message


NOT_VARIABLES: dict[str, tuple[str, str, str]] = {
    "a digit first": ("1A", "", "is not an environment variable name"),
    "a dash": ("A-B", "", "is not an environment variable name"),
    "an equals sign": ("A=B", "", "is not an environment variable name"),
    "no name": ("", "", "is not an environment variable name"),
    "a line's end": ("A\n", "", "is not an environment variable name"),
    "the service's own": ("GAELP_DATABASE_URL", "", "is reserved"),
    "the cluster's own": ("RAY_ADDRESS", "", "is reserved"),
    "the linker's": ("LD_PRELOAD", "", "is reserved"),
    "the interpreter's": ("PYTHONPATH", "", "is reserved"),
    "a NUL in its value": ("A", "a\x00b", "holds a NUL character"),
}


@pytest.mark.parametrize("case", NOT_VARIABLES)
def test_a_variable_may_not_be(case: str) -> None:
    name, value, words = NOT_VARIABLES[case]
    with pytest.raises(InvalidInput, match=words):
        check_environment({"GOOD": "x", name: value}, field_name="environment_vars")
