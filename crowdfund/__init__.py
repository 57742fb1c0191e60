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
        badges,
        bench,
        cancelling,
        cancelling_api,
        choosing,
        creators,
        dashboard,
        discovering,
        drafts_api,
        elsewhere,
        embed,
        entering,
        feeds,
        fiat,
        filters,
        health,
        hooks,
        i18n,
        importing,
        keepsakes,
        kept,
        live,
        notices_api,
        outside,
        packing,
        pictures,
        pledging,
        printing,
        projects,
        projects_api,
        proofs,
        public,
        readdressing,
        security,
        site,
        talk,
        talk_api,
        telling,
        tokens,
        wayfinding,
        wizard,
    )

    app = Flask("crowdfund", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    database = Database(settings.database_url)
    database.upgrade()
    books.open_ledger(database)
    site.install(app, settings, database)
    outside.install(app, settings)
    live.install(app, database)
    kept.install(app, database)
    i18n.install(app, settings.base_url)
    packing.install(app)
    security.install(app)
    filters.register(app)
    fiat.install(app, settings.fiat_file)
    app.url_map.converters["number"] = site.Number
    parts: tuple[Any, ...] = (
        public, discovering, badges, pledging, keepsakes, creators, entering, accounts, tokens, pictures, wizard,
        importing, projects, proofs, talk, dashboard, telling, hooks, feeds, elsewhere, embed, printing, wayfinding,
        cancelling, readdressing, bench, live, health, choosing,
    )  # fmt: skip
    programs: tuple[Any, ...] = (api, drafts_api, projects_api, talk_api, cancelling_api, notices_api)
    for part in parts + programs:
        app.register_blueprint(part.pages)
    for part in programs:
        security.protect.exempt(part.pages)
    security.protect.exempt(telling.off_now)  # its link is its proof, and mail programs have no session
    return app
