"""Where the proxy of an endpoint runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the endpoints that there are nobody said it."""
    for name in ("region", "zone"):
        op.add_column("endpoints", sa.Column(name, sa.String(length=64), nullable=False, server_default=""))
