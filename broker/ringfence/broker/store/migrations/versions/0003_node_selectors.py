"""What a node's attestation proved of it, for entries that say which nodes they are for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; join tokens, by which all nodes came so far, prove nothing but themselves."""
    op.add_column("nodes", sa.Column("selectors", sa.JSON(), nullable=False, server_default="[]"))
