"""Why a node is banned, in an operator's words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the bans that there are nobody said why."""
    op.add_column("nodes", sa.Column("reason", sa.String(length=256), nullable=False, server_default=""))
