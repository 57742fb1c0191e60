"""the language that mails to an address are written in"""

from alembic import op

from crowdfund.triggers import frozen

revision = "0022"
down_revision = "0021"

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"


def upgrade() -> None:
    # In words of its own, as SQLite can add a constraint only together with its column. Until now mails were English.
    op.execute(
        "ALTER TABLE subscriptions ADD COLUMN language TEXT DEFAULT 'en' NOT NULL CONSTRAINT language_is_a_code "
        f"CHECK (length(language) BETWEEN 2 AND 12 AND ltrim(language, '{LETTERS}') = '')"
    )
    op.execute(frozen("subscriptions", "language"))
