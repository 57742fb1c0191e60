"""The web process: gunicorn with threads, so that pages and live streams are served side by side."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from crowdfund import create_app
from crowdfund.config import Settings


class _Server(BaseApplication):
    """Gunicorn without its own command line and configuration files."""

    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._settings = settings
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Take the options given."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application in the worker process, after the fork: database connections do not cross one."""
        return create_app(self._settings)


def serve(settings: Settings, host: str, port: int, threads: int) -> None:
    """Serve until told to stop."""
    _Server(
        settings,
        {
            "bind": f"{host}:{port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "timeout": 60,
            "graceful_timeout": 3,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
        },
    ).run()
