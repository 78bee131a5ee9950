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
from gaelp_ray.domain.packages import check_requirements
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
    "a folder with odd characters": {"working_dir": "/srv/my agent (2) & co [x] #1 'ünïcödé 模型' %20?.d"},
    "an emoji of several parts": {"working_dir": "/srv/\U0001f469\u200d\U0001f52c"},
    "an archive on the node": {"working_dir": "/srv/code (2).tar.gz"},
    "a folder as an address": {"working_dir": "file:///srv/my%20agent"},
    "an archive on this host": {"working_dir": "file://localhost/srv/code.TGZ"},
    **{
        f"a {end} behind an address": {"working_dir": f"https://host/a/code (2) & co{end}"}
        for end in (".zip", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar")
    },
    "an address with a signature": {"working_dir": "https://host/code.zip?X-Amz-Signature=a%2Fb&c=d"},
    **{
        f"an archive in {scheme}": {"working_dir": f"{scheme}://bucket/code.tar.gz"}
        for scheme in ("gs", "gcs", "azure", "abfss", "S3")
    },
    "a long path": {"working_dir": "/" + "/".join(["d" * 255] * 15)},
    "packages": {
        "requirements": ("torch>=2.4,<3", "Ray[rllib] ; python_version < '3.13'", "stable_baselines3")
    },
    "no packages": {"requirements": ()},
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
    "no folder": ({"working_dir": ""}, "`working_dir` must be"),
    "a home": ({"working_dir": "~/jobs"}, "`working_dir` must be"),
    "a folder with a NUL": ({"working_dir": "/srv/\x00"}, "without control characters"),
    "a folder with half a character": ({"working_dir": "/srv/\ud800"}, "without control characters"),
    "a name of 300 characters": ({"working_dir": "/srv/" + "d" * 300}, "too long"),
    "a name of 130 wide characters": ({"working_dir": "/srv/" + "模" * 130}, "too long"),
    "a path of 5000 characters": ({"working_dir": "/d" * 2500}, "too long"),
    "an address that is no archive": ({"working_dir": "https://host/code"}, "`working_dir` must be"),
    "an archive in a query": ({"working_dir": "https://host/code?x=.zip"}, "`working_dir` must be"),
    "a bucket alone": ({"working_dir": "s3://code.zip"}, "`working_dir` must be"),
    "a chain of addresses": ({"working_dir": "https://h/a.zip::file:///etc/x.zip"}, "`working_dir` must be"),
    "another host's file": ({"working_dir": "file://host/srv/code.zip"}, "`working_dir` must be"),
    "memory": ({"working_dir": "memory://a/code.zip"}, "`working_dir` must be"),
    "a NUL by another way": ({"working_dir": "file:///srv/%00"}, "`working_dir` must be"),
    "an option": ({"requirements": ("--index-url=http://x",)}, "options, addresses and paths are not taken"),
    "a short option": ({"requirements": ("-r /etc/passwd",)}, "options, addresses and paths"),
    "an editable": ({"requirements": ("-e .",)}, "options, addresses and paths"),
    "an option behind a name": ({"requirements": ("torch --pre",)}, "options, addresses and paths"),
    "a hash": ({"requirements": ("torch==1 --hash=sha256:ab",)}, "options, addresses and paths"),
    "an address": ({"requirements": ("x @ https://host/x.whl",)}, "options, addresses and paths"),
    "a repository": ({"requirements": ("git+https://host/x",)}, "options, addresses and paths"),
    "a path": ({"requirements": ("./x",)}, "options, addresses and paths"),
    "a wheel": ({"requirements": ("/srv/x-1-py3-none-any.whl",)}, "options, addresses and paths"),
    "an archive's address": ({"requirements": ("x @ file:///etc",)}, "options, addresses and paths"),
    "an empty line": ({"requirements": ("",)}, "options, addresses and paths"),
    "a comment": ({"requirements": ("# torch",)}, "options, addresses and paths"),
    "a variable": ({"requirements": ("${TORCH}",)}, "options, addresses and paths"),
    "two lines in one": ({"requirements": ("torch\n--pre",)}, "printable characters"),
    "a NUL": ({"requirements": ("torch\x00",)}, "printable characters"),
    "half a character": ({"requirements": ("torch\ud800",)}, "printable characters"),
    "a long line": ({"requirements": ("t" * 501,)}, "at most 500 printable characters"),
    "too many lines": ({"requirements": ("torch",) * 501}, "may have 500 lines; got 501"),
    "the service's own package": ({"requirements": ("Gaelp.Ray>=0",)}, "may not name gaelp-ray"),
    "a job to start from": ({"config": {"from_job": 3}}, "a job names it"),
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


def test_requirements_are_equal_however_they_are_written() -> None:
    first = check_requirements(["Stable_Baselines3>=2,<3", "torch", "torch"])
    assert first == check_requirements([" torch ", "stable-baselines3 <3, >=2"])
    assert len(first) == 2
