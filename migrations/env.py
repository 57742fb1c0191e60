"""Alembic's entry: runs on the connection that `Database.upgrade` hands over."""

from alembic import context

from crowdfund.accounts import models as account_models
from crowdfund.campaigns import models
from crowdfund.db import Base
from crowdfund.notices import models as notices_models

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
assert models.Campaign.metadata is notices_models.Notice.metadata is account_models.Passkey.metadata is Base.metadata
context.run_migrations()
