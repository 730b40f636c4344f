"""A wish to adopt a model is a demand, too: it says what is to be adopted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add what a demand wants to be adopted."""
    op.add_column("demands", sa.Column("adopt", sa.Text()))
