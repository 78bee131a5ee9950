"""ramps are watched"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

#: A ramp that was begun without a metric is watched by one that nobody reports: it neither goes up nor back.
COLUMNS = (
    sa.Column("points_after", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("metric", sa.Text(), nullable=False, server_default="unwatched"),
    sa.Column("min_samples", sa.Integer(), nullable=False, server_default="1"),
    sa.Column("min_value", sa.Float(), nullable=False, server_default="0"),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("ramps", column)
        op.alter_column("ramps", column.name, server_default=None)


def downgrade() -> None:
    for column in COLUMNS:
        op.drop_column("ramps", column.name)
