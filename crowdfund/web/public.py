"""Pages that anyone may read: front, how it works, campaign, audit, terms, bundle, source."""

from __future__ import annotations

import io
import json
import tarfile
from urllib.parse import urlsplit

from flask import Blueprint, Response, render_template

from crowdfund.accounts.tokens import SCOPES
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.campaigns import incidents, lines, posts, queries, updates
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.queries import Snapshot
from crowdfund.config import NETWORK_FOLDERS, RPC_PORTS
from crowdfund.db import ROOT
from crowdfund.errors import NotFound
from crowdfund.web import openapi, problems
from crowdfund.web.discovering import front_cards
from crowdfund.web.i18n import at_the_desk
from crowdfund.web.kept import kept
from crowdfund.web.more import more_view
from crowdfund.web.picture_views import views_of
from crowdfund.web.proofs import proof_view
from crowdfund.web.site import as_of, here
from crowdfund.web.views import CampaignView, campaign_view, coin_view, preview_view

SOURCES = (
    "crowdfund", "templates", "translations", "static", "migrations", "requirements", "tests", "stubs", "bench", "docs",
    "wsgi.py", "pyproject.toml", "babel.cfg", "Makefile", "LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md",
)  # fmt: skip
LEFT_OUT = ("__pycache__", ".pyc")

pages = Blueprint("public", __name__)


def open_snapshot(campaign_id: str, whole: bool = False) -> tuple[Snapshot, CampaignView]:
    """A published campaign; `whole`: with all columns, for an audit. Raises NotFound for a draft too: it is nobody's
    business but its creator's."""
    with here().database.reading() as db:
        snapshot = (queries if whole else lines).load(db, campaign_id)
        if snapshot.terms is None:
            raise NotFound("There is no such campaign.")
        pictures = views_of(db, [campaign_id]).get(campaign_id, ())
        return snapshot, campaign_view(snapshot, here().network, as_of(db), pictures)


@pages.get("/")
@kept
def front() -> str:
    """What this is, and some campaigns."""
    with here().database.reading() as db:
        campaigns = front_cards(db, as_of(db))
    return render_template("front.html", campaigns=campaigns)


@pages.get("/about")
def about() -> str:
    """How it works, and what it does not promise."""
    return render_template("about.html")


@pages.get("/campaigns/<campaign_id>")
@kept
def campaign(campaign_id: str) -> str:
    """One campaign."""
    snapshot, view = open_snapshot(campaign_id)
    with here().database.reading() as db:
        found = incidents.of_campaign(db, campaign_id)
        reached = view.counted_sats >= view.goal_sats  # else the page says nothing of a payout
        preview = preview_view(snapshot, as_of(db)) if reached else None
        said = {"updates": updates.of_campaign(db, campaign_id), "talk": posts.talk_of(db, snapshot)}
        row = db.get_one(Campaign, campaign_id)
        said |= {"more": more_view(db, row), "proof": proof_view(db, row.project, row)}
    return render_template("campaign.html", campaign=view, incidents=found, preview=preview, **said)


@pages.get("/incidents")
def incident_log() -> str:
    """What went out of the ordinary, on the whole site."""
    with here().database.reading() as db:
        as_of(db)
        found = incidents.of_site(db)
    return render_template("incidents.html", incidents=found, shown=incidents.SHOWN)


@pages.get("/campaigns/<campaign_id>/audit")
def audit(campaign_id: str) -> str:
    """Every coin and its bucket, and how to recompute them."""
    snapshot, view = open_snapshot(campaign_id, whole=True)
    coins = [coin_view(snapshot, pledge, coin) for pledge in snapshot.pledges for coin in pledge.coins]
    terms = json.dumps(json.loads(snapshot.campaign.terms or "{}"), indent=2, ensure_ascii=False)
    command = f"crowdfund audit audit-{campaign_id}.json {_readers_node()}"
    return render_template(
        "audit.html",
        campaign=view,
        coins=coins,
        terms_json=terms,
        bundle_command=command,
    )


@pages.get("/campaigns/<campaign_id>/audit.json")
def bundle(campaign_id: str) -> Response:
    """The audit bundle."""
    snapshot, _ = open_snapshot(campaign_id, whole=True)
    return json_file(bundle_json(build_bundle(snapshot, here().network)), f"audit-{campaign_id}.json")


@pages.get("/campaigns/<campaign_id>/terms.json")
def terms(campaign_id: str) -> Response:
    """The canonical terms, byte for byte as they are hashed."""
    return json_file(open_snapshot(campaign_id)[0].campaign.terms or "", f"terms-{campaign_id}.json")


@pages.get("/api")
@at_the_desk
def api_page() -> str:
    """The API, for people."""
    base_url = here().settings.base_url
    return render_template(
        "api.html",
        openapi=openapi.document(base_url, here().name),
        base=f"{base_url}/api/v1",
        tags=list(openapi.PARTS),
        operations=openapi.operations(),
        schemas=openapi.SCHEMAS,
        scopes=SCOPES,
        problem_kinds=problems.KINDS,
    )


@pages.get("/source.tar.gz")
def source() -> Response:
    """This installation's own source, as the AGPL asks for."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in SOURCES:
            if (ROOT / name).exists():
                archive.add(ROOT / name, f"crowdfund/{name}", filter=_clean)
    response = Response(buffer.getvalue(), content_type="application/gzip")
    response.headers["Content-Disposition"] = "attachment; filename=crowdfund-source.tar.gz"
    return response


def _readers_node() -> str:
    """How the reader names a node: on regtest it is ours, elsewhere their own at its usual place."""
    network = here().network
    if network == "regtest":
        return f"--node http://{urlsplit(here().settings.bitcoind_url).netloc.rpartition('@')[2]}"
    folder = "/".join(part for part in ("~/.bitcoin", NETWORK_FOLDERS[network], ".cookie") if part)
    return f"--node http://127.0.0.1:{RPC_PORTS[network]} --cookie-file {folder}"


def _clean(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without caches, and without the names of this machine's users."""
    if any(part in member.name for part in LEFT_OUT):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def json_file(text: str, name: str) -> Response:
    """JSON to be saved under `name`."""
    response = Response(text, content_type="application/json")
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response
