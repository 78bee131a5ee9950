"""The audit in the database: every change is in it, and no change of it goes unseen."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from gaelp_ray.cli.main import main
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.audit import GENESIS, Seal
from gaelp_ray.domain.errors import Forbidden, InvalidInput
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, approvals, audit, compliance, roles
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_hold, a_post
from tests.builders import ADMIN, ANN, T0, at_once

DAY = timedelta(days=1)


def record(store: Store, number: int, **fields: Any) -> Seal:
    given = {"by": ANN, "now": T0, "before": {"n": number - 1}, "after": {"n": number}}
    return store.transact(audit.record, "test.change", f"thing {number}", **given | fields)


def kinds(store: Store, **given: Any) -> list[tuple[int, str]]:
    return [(each.seq, each.kind) for each in store.transact(audit.verify, **given).breaks]


def test_an_empty_audit_holds(store: Store) -> None:
    proof = store.transact(audit.verify)
    assert (proof.head, proof.holds) == (GENESIS, True)


def test_what_is_recorded_is_read_as_it_was(store: Store) -> None:
    by = Principal("ann", request_id="r-7")
    text = "NUL \x00, \ud800, ü, 1e22"
    record(store, 1, by=by, before=None, after={"text": text, "big": 1e22, "int": 10**30, "at": T0})
    found = store.read(audit.page, by=ADMIN, limit=10)[0]
    assert found.seal.seq == 1
    assert (found.record.actor, found.record.request_id, found.record.at) == ("ann", "r-7", T0)
    assert found.record.before is None
    assert found.record.after is not None
    after = json.loads(found.record.after)
    assert after == {"text": text, "big": 1e22, "int": 10**30, "at": T0.isoformat()}
    assert kinds(store) == []


def test_records_made_at_the_same_moment_are_one_chain(store: Store) -> None:
    seals = at_once(8, lambda n: [record(store, 10 * n + k) for k in range(5)])
    numbers = sorted(seal.seq for each in seals if isinstance(each, list) for seal in each)
    assert numbers == list(range(1, 41))
    assert kinds(store) == []


def test_a_change_that_was_rolled_back_is_not_in_it(store: Store) -> None:
    def fails(tx: Any) -> None:
        audit.record(tx, "test.change", "thing", by=ANN, now=T0)
        raise InvalidInput("on purpose")

    with pytest.raises(InvalidInput, match="on purpose"):
        store.transact(fails)
    assert record(store, 1).seq == 1
    assert kinds(store) == []


REFUSED = (
    "UPDATE audit_records SET actor = 'bob'",
    "DELETE FROM audit_records",
    "TRUNCATE audit_records",
    "DELETE FROM audit_head",
    "TRUNCATE audit_head",
    "UPDATE policies SET version = 2",
    "DELETE FROM violations",
)


def test_the_database_refuses_to_change_history(store: Store, sql: Any) -> None:
    record(store, 1)
    for statement in REFUSED:
        with pytest.raises(DBAPIError, match="never changed"):
            sql(statement)


TAMPERED: dict[str, tuple[str, tuple[int, str]]] = {
    "edited": ("UPDATE audit_records SET actor = 'bob' WHERE seq = 3", (3, "edited")),
    "edited in its state": ("UPDATE audit_records SET after = '{}' WHERE seq = 3", (3, "edited")),
    "dated back": ("UPDATE audit_records SET at = at - interval '1 us' WHERE seq = 3", (3, "edited")),
    "removed": ("DELETE FROM audit_records WHERE seq = 3", (3, "missing")),
    "removed at the beginning": ("DELETE FROM audit_records WHERE seq = 1", (1, "missing")),
    "removed at the end": ("DELETE FROM audit_records WHERE seq = 5", (5, "missing")),
    "removed altogether": ("DELETE FROM audit_records", (1, "missing")),
    "moved": (
        "UPDATE audit_records SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3);"
        "UPDATE audit_records SET seq = -seq WHERE seq < 0",
        (2, "edited"),
    ),
    "added past the end": (
        "INSERT INTO audit_records SELECT 6, at, actor, action, subject, before, after, request_id, 'x' "
        "FROM audit_records WHERE seq = 5",
        (6, "edited"),
    ),
    "cut short, with its end": (
        "DELETE FROM audit_records WHERE seq = 5; UPDATE audit_head SET seq = 4", (4, "head"),
    ),
    "without its end": ("DELETE FROM audit_head", (0, "head")),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_an_audit_that_a_superuser_changed_is_found_out(store: Store, sql: Any, case: str) -> None:
    for number in range(1, 6):
        record(store, number)
    statement, expected = TAMPERED[case]
    sql("ALTER TABLE audit_records DROP CONSTRAINT ck_audit_records_seq")
    sql(f"SET LOCAL session_replication_role = replica; {statement}")
    assert kinds(store)[0] == expected


def test_an_audit_written_anew_is_found_by_an_end_that_was_kept(store: Store, sql: Any) -> None:
    kept = [record(store, number) for number in range(1, 4)][1]
    assert kinds(store, anchor=kept) == []
    sql(
        "SET LOCAL session_replication_role = replica; DELETE FROM audit_records; "
        "UPDATE audit_head SET seq = 0, hash = repeat('0', 64)"
    )
    for number in range(7, 10):
        record(store, number)
    assert kinds(store) == []
    assert kinds(store, anchor=kept) == [(2, "head")]


def test_changes_of_limits_say_who_and_what_was_before(store: Store) -> None:
    bank = Bank(store)
    team = bank.open()
    for limit in (5, None):
        store.transact(accounts.set_limit, team, Period.DAY, limit, by=ANN, now=T0)
    found = [each.record for each in store.read(audit.page, by=ADMIN, action="limit.set", limit=9)]
    assert [(r.actor, r.subject, r.before, r.after) for r in found] == [
        ("ann", f"account {team}", None, '{"day":5}'),
        ("ann", f"account {team}", '{"day":5}', '{"day":null}'),
    ]


def test_only_auditors_read_it(store: Store) -> None:
    with pytest.raises(Forbidden, match="auditor"):
        store.read(audit.page, by=ANN, limit=10)
    store.transact(roles.grant, "ann", Role.AUDITOR, by=ADMIN, now=T0)
    store.transact(roles.grant, "ann", Role.AUDITOR, by=ADMIN, now=T0)
    assert [each.record.action for each in store.read(audit.page, by=ANN, limit=10)] == ["role.grant"]
    with store.connection() as connection:
        assert len(list(audit.export(connection, by=ANN))) == 1
    with pytest.raises(Forbidden):
        store.transact(roles.grant, "bob", Role.AUDITOR, by=ANN, now=T0)


def test_the_report_of_a_period_has_all_of_it_and_nothing_else(store: Store) -> None:
    bank = Bank(store)
    team = bank.open({Period.DAY: 100})
    bank.submit([a_hold("spent", team, amount=30), a_post("spent", 20), a_hold("held", team, amount=5)])
    new = NewApproval(
        purpose=Purpose.LIMIT, subject=f"account {team}", reason="more", ttl=DAY, amount_micros=200,
        currency="EUR", period=Period.DAY,
    )  # fmt: skip
    asked = store.transact(approvals.request, new, by=ANN, now=bank.now)
    vote = {"approves": False, "reason": "too much", "by": ADMIN, "now": bank.now}
    store.transact(approvals.vote, asked.id, **vote)
    period = {"since": T0 - DAY, "until": T0 + DAY, "by": ADMIN, "now": bank.now}
    found = store.read(compliance.report, **period)
    assert [(r["subject"], r["amount_micros"]) for r in found["spend"]] == [(f"account {team}", 20)]
    assert [(r["what"], r["amount_micros"]) for r in found["holds"]] == [("pending", 5), ("posted", 30)]
    assert [(r["what"], r["detail"]) for r in found["approvals"]] == [
        ("rejected", "more; root rejected: too much")
    ]
    assert [(r["actor"], r["detail"]) for r in found["limits"]] == [("system", '- -> {"day":100}')]
    assert [r["what"] for r in found["changes"]] == ["account.open", "approval.request", "approval.reject"]
    later = store.read(compliance.report, **period | {"since": T0 + DAY, "until": T0 + 2 * DAY})
    assert later == {section: [] for section in compliance.SECTIONS}
    with pytest.raises(InvalidInput, match="before"):
        store.read(compliance.report, **period | {"until": T0 - DAY})


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main(["audit", *arguments])
    return int(left.value.code or 0), capsys.readouterr().out


def test_one_command_proves_it(
    store: Store, sql: Any, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("GAELP_DATABASE_URL", database_url)
    head = [record(store, number) for number in range(1, 4)][-1]
    code, printed = ran(capsys, "verify", "--anchor", f"{head.seq}:{head.hash}")
    assert (code, printed.splitlines()[0]) == (0, "3 records are as they were written.")
    assert f"3:{head.hash}" in printed
    sql("SET LOCAL session_replication_role = replica; UPDATE audit_records SET actor = 'bob' WHERE seq = 2")
    code, printed = ran(capsys, "verify", "--json")
    assert code == 1
    assert [each["seq"] for each in json.loads(printed)["breaks"]] == [2]
    code, printed = ran(capsys, "verify")
    assert (code, "edited" in printed) == (1, True)
    assert ran(capsys, "verify", "--anchor", "x")[0] == 1
    code, printed = ran(capsys, "report", "--since", "2025-01-01", "--until", "2026-01-01")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert (code, [row["subject"] for row in rows]) == (0, ["thing 1", "thing 2", "thing 3"])
