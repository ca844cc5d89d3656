"""The fields of an entry that SPIRE has too, and the template of a rule entry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; the entries that are there expire never, federate with nobody and are no rules."""
    op.add_column("entries", sa.Column("expires_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("entries", sa.Column("federates_with", sa.JSON(), nullable=False, server_default="[]"))
    for name in ("admin", "downstream", "store_svid", "jwt_jti"):
        op.add_column("entries", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("entries", sa.Column("template", sa.String(length=2048), nullable=False, server_default=""))
