"""Claims of nodes on fabrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, empty: agents claim what they hold when they connect."""
    op.create_table(
        "fabric_claims",
        sa.Column("id", sa.String(length=64), primary_key=True),
        sa.Column("agent", sa.String(length=2048), nullable=False),
        sa.Column("fabric", sa.String(length=512), nullable=False),
        sa.Column("job", sa.String(length=512), nullable=False),
        sa.Column("spiffe_id", sa.String(length=2048), nullable=False),
        sa.Column("entry_id", sa.String(length=2100), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("leaves", sa.BigInteger(), nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
    )
    op.create_index("fabric_claims_agent", "fabric_claims", ["agent"])
