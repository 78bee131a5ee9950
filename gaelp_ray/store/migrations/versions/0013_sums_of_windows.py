"""sums of windows have no end that people could reach"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_COLUMNS = ("pending_parts", "posted_parts")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("account_windows", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("account_windows", name)
