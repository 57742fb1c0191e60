"""Proof that a project is somebody's: what to write into its files, asking for a look, and what the looks have seen.

The pages only ask. The look is made by the process that tells people, which holds nothing secret; this one need not
reach anything outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.campaigns.details import Details
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import looking, people, writing
from crowdfund.projects.forges import FUNDING_YML, MANIFEST_URLS
from crowdfund.projects.looking import Standing
from crowdfund.projects.manifests.publishing import funding_yml_snippet
from crowdfund.projects.models import Project
from crowdfund.projects.proof import CHALLENGE, Way
from crowdfund.projects.proof_models import SHOWN, ProjectProof
from crowdfund.projects.roles import Action
from crowdfund.web.creators import creator_id
from crowdfund.web.outside import not_too_often
from crowdfund.web.security import code_of
from crowdfund.web.site import as_of, creators_only, here

pages = Blueprint("proofs", __name__)

Answer = str | Response | tuple[str, int]
FILES = {
    Way.MANIFEST_URLS: MANIFEST_URLS,
    Way.FUNDING_YML: FUNDING_YML,
    Way.CHALLENGE: "a file that only its writers change",
}
# While a look is awaited the page loads itself again; not for ever, as there may be nobody to look.
PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class ProofView:
    """How a page tells it. `holds` is the badge; `by` is repository or site; `trouble` is what the last look has not
    seen, with its time, where that was not what is shown."""

    holds: bool
    by: str
    address: str
    seen_at: datetime
    file: str
    url: str
    line: str
    trouble: str
    trouble_at: datetime | None


@pages.route("/projects/<slug>/proof", methods=["GET", "POST"])
@creators_only
def proof(slug: str) -> Answer:
    """For the people of a project: the three ways to show that it is theirs, and a button to look."""
    with here().database.reading() as db:
        project = writing.by_slug(db, slug)
        people.require(db, creator_id(), project.id, Action.PROJECT)
    if request.method == "GET":
        return _page(slug, "")
    try:
        not_too_often("look")
        with here().database.transaction() as db:
            looking.ask(db, creator_id(), writing.by_slug(db, slug), datetime.now(UTC))
    except NotFound:
        raise
    except UserError as error:
        return _page(slug, error.sentence), code_of(error)
    flash("We look now. What we see appears here, usually within a minute.", "good")
    return redirect(url_for("proofs.proof", slug=slug), 303)


def proof_view(db: Session, project: Project | None, campaign: Campaign | None = None) -> ProofView | None:
    """How it stands with a project, today. On the page of a campaign only an address counts that is frozen in it: what
    the project moved to later is not what backers have read."""
    if project is None:
        return None
    among = () if campaign is None else frozen_addresses(campaign)
    found = looking.standing_of(db, project, datetime.now(UTC), among)
    return None if found is None else view_of(found)


def frozen_addresses(campaign: Campaign) -> Sequence[str]:
    """Where the project is, as the campaign says it."""
    facts = Details.parse(campaign.details).project
    return tuple(filter(None, (facts.repository_url, facts.site_url, campaign.project_url)))


def view_of(standing: Standing) -> ProofView | None:
    """None where nothing was ever seen."""
    seen, last = standing.seen, standing.last
    if seen is None:
        return None
    failed = last is not None and last.outcome != SHOWN
    return ProofView(
        holds=standing.holds,
        by="repository" if standing.is_repository else "site",
        address=standing.address,
        seen_at=seen.looked_at,
        file=FILES[Way(seen.way)],
        url=seen.url,
        line=seen.line,
        trouble=last.sentence if failed and last else "",
        trouble_at=last.looked_at if failed and last else None,
    )


def _page(slug: str, problem: str) -> str:
    now = datetime.now(UTC)
    with here().database.reading() as db:
        as_of(db)
        project = writing.by_slug(db, slug)
        waiting = looking.waiting_since(db, project.id)
        standings = looking.standings(db, project, now)
        return render_template(
            "proof.html",
            project=project,
            problem=problem,
            waiting=waiting,
            reloads=waiting is not None and now - waiting < PATIENCE,
            proof=next((view for each in standings if each.holds and (view := view_of(each))), None),
            looks=looking.looks(db, project.id),
            standings=standings,
            texts=proof_texts(db, project),
            addresses=looking.addresses_of(project),
            file_of=_file_of,
        )


def proof_texts(db: Session, project: Project) -> dict[str, tuple[str, str]]:
    """What to write, by way: the file, and its text."""
    ours, token = looking.our_urls(db, here().settings.base_url, project), looking.token_of(project)
    listed = [ours[0], *(url for url in ours if url.endswith("/funding.json"))]
    return {
        Way.MANIFEST_URLS.value: (MANIFEST_URLS, "\n".join(listed) + "\n"),
        Way.FUNDING_YML.value: (FUNDING_YML, funding_yml_snippet(ours[0])),
        Way.CHALLENGE.value: (CHALLENGE, f"{token}\n"),
        "comment": ("README.md", f"<!-- {token} -->\n"),
    }


def _file_of(row: ProjectProof) -> str:
    return FILES[Way(row.way)]
