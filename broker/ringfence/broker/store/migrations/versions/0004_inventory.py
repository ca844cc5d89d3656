"""Why an SVID was refused, and indexes to find every document of an identity, and those before and after it."""

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
    op.create_index("issuance_identity", "issuance", ["spiffe_id"])
    op.create_index("issuance_node", "issuance", ["agent_id", "entry_id", "recorded_at"])
