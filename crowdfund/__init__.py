"""All-or-nothing crowdfunding in bitcoin for open projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from crowdfund.config import Settings

__version__ = "0.1.0"


def create_app(settings: Settings) -> Flask:
    """The web application, wired together. It holds no key and loads no module that could."""
    from flask import Flask

    from crowdfund.campaigns import books
    from crowdfund.db import ROOT, Database
    from crowdfund.web import (
        accounts,
        api,
        bench,
        creators,
        entering,
        filters,
        health,
        keepsakes,
        live,
        pledging,
        public,
        security,
        site,
    )  # fmt: skip

    app = Flask("crowdfund", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    database = Database(settings.database_url)
    database.upgrade()
    books.open_ledger(database)
    site.install(app, settings, database)
    security.install(app)
    filters.register(app)
    parts: tuple[Any, ...] = (public, pledging, keepsakes, creators, entering, accounts, bench, live, health, api)
    for part in parts:
        app.register_blueprint(part.pages)
    security.protect.exempt(api.pages)
    return app
