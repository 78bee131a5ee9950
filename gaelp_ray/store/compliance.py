"""What a compliance report adds up, in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text


def spend(connection: Connection, *, since: datetime, until: datetime) -> list[Any]:
    """What was posted on each account, as booked in the period."""
    return list(connection.execute(text(_SPEND), {"since": since, "until": until}))


def holds(connection: Connection, *, since: datetime, until: datetime) -> list[Any]:
    """Holds that were made in the period, by what became of them."""
    return list(connection.execute(text(_HOLDS), {"since": since, "until": until}))


_SPEND = """
    SELECT a.id AS account_id, a.scope, a.subject, a.currency, a.money, sum(e.posted_micros) AS posted
    FROM ledger_entries e JOIN accounts a ON a.id = e.account_id
    WHERE e.at >= :since AND e.at < :until
    GROUP BY a.id HAVING sum(e.posted_micros) <> 0 ORDER BY a.id"""
_HOLDS = """
    SELECT state, currency, count(*) AS count, sum(amount_micros::numeric + margin_micros) AS held,
           sum(coalesce(reported_micros, posted_micros)) AS posted
    FROM money_holds WHERE created_at >= :since AND created_at < :until
    GROUP BY state, currency ORDER BY state, currency"""
