"""names of users, teams and campaigns are kept in one form"""

from collections.abc import Callable, Iterable, Iterator

import sqlalchemy as sa
from alembic import op

from gaelp_ray.domain import ids, names

revision = "0012"
down_revision = "0011"

#: Table, column, and the condition under which the column holds such a name.
USERS = (
    ("agents", "owner", "true"),
    ("jobs", "owner", "true"),
    ("role_grants", "user_name", "true"),
    ("account_members", "user_name", "true"),
    ("approvals", "requested_by", "true"),
    ("ramps", "started_by", "true"),
    ("holds", '"by"', "true"),
    ("quotas", "name", "kind = 'user' AND name <> '*'"),
)
NAMED = (
    ("quotas", "name", "kind = 'team'"),
    ("quotas", "team", "team IS NOT NULL"),
    ("accounts", "subject", "scope IN ('user', 'team', 'campaign')"),
    ("kill_switches", "subject", "scope IN ('user', 'campaign')"),
    ("holds", "name", "scope IN ('user', 'team')"),
)
#: Those that name an agent by its id.
AGENTS = (
    ("accounts", "subject", "scope = 'agent'"),
    ("kill_switches", "subject", "scope = 'agent'"),
    ("holds", "name", "scope = 'agent'"),
    ("policy_attachments", "subject", "scope = 'agent'"),
)


def upgrade() -> None:
    """Where two rows would become one, both stay as they are: neither is worth more than the other."""
    op.create_index("ix_agents_owner_lower_name", "agents", ["owner", sa.text("lower(name)")])
    # No reader of ours can show what lies behind the year 9999.
    op.execute("UPDATE metric_points SET at = '8999-12-31T23:59:59Z' WHERE at >= '9000-01-01T00:00:00Z'")
    for table, column, condition in (*USERS, *NAMED):
        _rewrite(table, column, condition, _changed(table, column, condition, names.canonical))
    for table, column, condition in AGENTS:
        _rewrite(table, column, condition, _changed(table, column, condition, _plain))


def downgrade() -> None:
    op.drop_index("ix_agents_owner_lower_name", "agents")


def _changed(
    table: str, column: str, condition: str, kept: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    found = op.get_bind().execute(sa.text(f"SELECT DISTINCT {column} FROM {table} WHERE {condition}"))
    yield from ((name, kept(name)) for name in found.scalars().all() if kept(name) != name)


def _plain(subject: str) -> str:
    digits = subject.lstrip("0")
    return subject if ids.known(digits) is None else digits


def _rewrite(table: str, column: str, condition: str, changed: Iterable[tuple[str, str]]) -> None:
    of_name = f"{column} = :before AND ({condition})"
    for before, after in changed:
        given = {"before": before, "after": after}
        if _done(f"UPDATE {table} SET {column} = :after WHERE {of_name}", given):
            continue
        rows = op.get_bind().execute(sa.text(f"SELECT ctid::text FROM {table} WHERE {of_name}"), given)
        for place in rows.scalars().all():
            _done(
                f"UPDATE {table} SET {column} = :after WHERE ctid = CAST(:place AS tid)",
                given | {"place": place},
            )


def _done(statement: str, given: dict[str, str]) -> bool:
    """False: it would have made two rows one."""
    try:
        with op.get_bind().begin_nested():
            op.get_bind().execute(sa.text(statement), given)
    except sa.exc.IntegrityError:
        return False
    return True
