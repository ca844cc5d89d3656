"""What is revoked, and the lists that say so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the three tables, empty."""
    op.create_table(
        "revoked_serials",
        sa.Column("serial", sa.String(length=40), primary_key=True),
        sa.Column("spiffe_id", sa.String(length=2048), nullable=False),
        sa.Column("authority", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=2048), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
    )
    op.create_table(
        "revoked_identities",
        sa.Column("spiffe_id", sa.String(length=2048), primary_key=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=256), nullable=False),
        sa.Column("by", sa.String(length=256), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "crls",
        sa.Column("authority", sa.String(length=64), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
    )
