"""The web process for any WSGI server: settings from the environment, nothing else."""

from crowdfund import create_app
from crowdfund.config import Settings

app = create_app(Settings.from_env())
