"""checkpoints are found under the storage's present root, and kept while another job works on them"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEPT = sa.text("deleted_at IS NULL")
_INPUTS = sa.text("ended_at IS NULL AND input_checkpoint_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("attempts", sa.Column("input_checkpoint_id", sa.BigInteger(), nullable=True))
    op.create_index("ix_attempts_inputs", "attempts", ["input_checkpoint_id"], postgresql_where=_INPUTS)
    op.add_column("checkpoints", sa.Column("address", sa.Text(), nullable=True))
    # Every release has laid them out so, whatever the root was; processes of an earlier one leave it out.
    op.execute(
        """
        UPDATE checkpoints
        SET address = substring(uri FROM 'checkpoints/job-[0-9]+/attempt-[0-9]+/step-[-0-9]+$')
        """
    )
    op.create_index("ix_checkpoints_kept", "checkpoints", ["job_id", "id"], postgresql_where=_KEPT)
    op.create_index("ix_checkpoints_attempt_id", "checkpoints", ["attempt_id"])
    op.drop_index("ix_checkpoints_job_id_step", table_name="checkpoints")


def downgrade() -> None:
    op.create_index("ix_checkpoints_job_id_step", "checkpoints", ["job_id", "step"])
    op.drop_index("ix_checkpoints_attempt_id", table_name="checkpoints")
    op.drop_index("ix_checkpoints_kept", table_name="checkpoints")
    op.drop_column("checkpoints", "address")
    op.drop_index("ix_attempts_inputs", table_name="attempts")
    op.drop_column("attempts", "input_checkpoint_id")
