"""Other people's text never commands a terminal, and is never taken for markup."""

from __future__ import annotations

import json

import httpx
import pytest
from cli_service import AGENT, FAILED, JOB, RUNNING, Run, Service, problem

from gaelp_ray.cli.output import shown

TITLE = "\x1b]0;owned\x07"
CLEAR = "\x1b[2J\x1b[H"
C1 = "\x9b2J"
LINK = "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\"
TURNED = "abc\u202edef"
ATTACKS = [TITLE, CLEAR, C1, LINK, TURNED, "\x08\x08\x08done", "\x7f", "\x0e", "\u2066x\u2069", "a\rb"]
SAFE = [*(chr(code) for code in range(32, 127)), "\n", "\t", "é", "漢", "🙂", "\u00a0"]


def is_safe(text: str) -> bool:
    """No control character but line breaks and tabs, and nothing that turns the writing."""
    turning = {*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
    return not any(
        (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) <= 0x9F or ord(c) in turning for c in text
    )


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_what_a_terminal_obeys_is_spelled_out(attack: str) -> None:
    assert is_safe(shown(f"before {attack} after"))
    assert shown(f"before {attack} after").startswith("before ")
    assert shown(f"before {attack} after").endswith(" after")


def test_text_stays_as_it_is() -> None:
    assert shown("".join(SAFE)) == "".join(SAFE)
    assert shown("\x1b[1;31mred\x1b[0m\r\n50%\r100%") == "red\n50%\n100%"


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_no_command_passes_it_on(gaelp: Run, service: Service, attack: str) -> None:
    hostile = AGENT | {"name": attack, "owner": attack}
    failed = FAILED | {"name": attack, "message": attack, "entrypoint": attack, "notices": [attack]}
    service.answers |= {
        "GET /agents": {"items": [hostile]},
        "GET /agents/7": hostile,
        "GET /jobs": {"items": [failed]},
        "GET /jobs/1": failed,
        "POST /jobs": JOB | {"notices": [attack]},
        "GET /jobs/1/events": {"items": [{"id": 1, "event": attack, "message": attack, "to_state": "x"}]},
        "GET /jobs/1/logs": httpx.Response(200, text=f"{attack}\n"),
        "GET /agents/9": problem("not_found", attack, 404),
    }
    for words in (
        "agents list",
        "agents show 7",
        "agents show 9",
        "jobs list",
        "jobs show 1",
        "jobs submit 7",
        "jobs watch 1",
        "jobs events 1",
        "jobs logs 1",
        "jobs show 1 --json",
        "agents list --json",
    ):
        ran = gaelp(*words.split())
        printed = ran.out + ran.err
        # Rich's own colours and cursor are none here, for this is no terminal.
        assert is_safe(printed), words


def test_json_spells_it_out_so_that_a_program_reads_the_same(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents/7"] = AGENT | {"name": C1 + TURNED}

    ran = gaelp("agents", "show", "7", "--json")

    assert is_safe(ran.out)
    assert json.loads(ran.out)["name"] == C1 + TURNED


def test_a_log_is_printed_as_it_is_when_asked_for(gaelp: Run, service: Service) -> None:
    service.answers["GET /jobs/1/logs"] = httpx.Response(200, text=TITLE)

    assert gaelp("jobs", "logs", "1", "--raw").out == TITLE
    assert gaelp("jobs", "logs", "1").out == "\\x1b]0;owned\\x07"


@pytest.mark.parametrize("name", ["[red]x[/red]", "[link=http://evil.example]x[/link]", "[/]", ":smile:"])
def test_a_name_is_never_markup(gaelp: Run, service: Service, name: str) -> None:
    service.answers |= {
        "GET /agents": {"items": [AGENT | {"name": name}]},
        "POST /jobs": JOB | {"notices": [name], "phase": name},
        "GET /jobs/1": [RUNNING | {"phase": name}, FAILED | {"message": name}],
        "POST /kill-switches/user/x": {},
    }

    assert name in gaelp("agents", "list").out
    assert name in gaelp("jobs", "submit", "7").out
    assert name in gaelp("jobs", "watch", "1").err
