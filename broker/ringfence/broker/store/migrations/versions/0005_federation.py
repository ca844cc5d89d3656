"""Bundles of other trust domains, and where they are fetched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both tables, empty: nobody is trusted by an upgrade."""
    op.create_table(
        "federated_bundles",
        sa.Column("trust_domain", sa.String(length=255), primary_key=True),
        sa.Column("bundle", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "federations",
        sa.Column("trust_domain", sa.String(length=255), primary_key=True),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("profile", sa.String(length=16), nullable=False),
        sa.Column("endpoint_id", sa.String(length=2048), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
