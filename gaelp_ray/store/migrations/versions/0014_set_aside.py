"""what duties set aside, and guesses of run times"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "set_aside",
        sa.Column("duty", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("duty", "item", name="pk_set_aside"),
    )
    op.add_column("jobs", sa.Column("guess_s", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "guess_s")
    op.drop_table("set_aside")
