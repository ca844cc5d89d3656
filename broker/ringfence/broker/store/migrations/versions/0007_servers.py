"""Several servers on one database: who they are, and whose authority and endpoints are whose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what is there belongs to the one server that wrote it."""
    op.create_table(
        "servers",
        sa.Column("id", sa.String(length=64), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False, unique=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("shows", sa.BigInteger(), nullable=False),
    )
    op.add_column("authority", sa.Column("until", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("endpoints", sa.Column("server", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("endpoints_node", "endpoints", ["node"])
    op.add_column("feed", sa.Column("registry", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE feed SET registry = revision")
    with op.batch_alter_table("changes") as changes:
        changes.alter_column("key", existing_type=sa.String(length=64), type_=sa.String(length=2048))
