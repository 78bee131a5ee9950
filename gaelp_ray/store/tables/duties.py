"""Table of what duties could not do."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from gaelp_ray.store.tables.core import at_column, metadata

set_aside = Table(
    "set_aside",
    metadata,
    #: A name of ``domain.duties``; no constraint, so that an older process may note what a newer one does.
    Column("duty", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("error", Text, nullable=False),
    at_column("first_at"),
    at_column("last_at"),
    Column("times", Integer, nullable=False, server_default="1"),
    #: Null for what is not tried again, since whoever asked for it was told.
    at_column("next_try_at", nullable=True),
)
