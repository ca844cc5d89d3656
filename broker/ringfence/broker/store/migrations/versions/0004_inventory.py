"""Why an SVID was refused, and an index to find every document of an identity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; nothing that was refused so far was kept."""
    op.add_column("issuance", sa.Column("reason", sa.String(length=256), nullable=False, server_default=""))
    op.create_index("issuance_identity", "issuance", ["spiffe_id", "agent_id"])
