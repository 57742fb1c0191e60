"""Pictures: the page on which a creator adds, describes, orders and removes them, and where they are served.

A picture is served under the hash of its bytes, so it may be kept for ever; and with headers under which a browser
takes it for nothing but a picture, whatever it holds.
"""

from __future__ import annotations

import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from crowdfund.campaigns import gallery, service
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound, UserError
from crowdfund.projects.pictures import FIELD, MAX_BYTES, make_anew
from crowdfund.web.forms import AltForm, PictureForm, show_problems
from crowdfund.web.picture_views import ENDINGS, PictureView, picture_view
from crowdfund.web.site import creators_only, current_creator, here

pages = Blueprint("pictures", __name__)

Answer = str | Response | tuple[str, int]
KINDS = {ending: kind for kind, ending in ENDINGS.items()}
SHA256 = re.compile(r"[0-9a-f]{64}")
# With nothing allowed and in a sandbox, even a page that somebody took for a picture could do nothing.
PICTURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "inline",
}
FOR_EVER = "public, max-age=31536000, immutable"
FOR_THE_CREATOR = "private, no-cache"
MOVES = {move.value for move in gallery.Move}
SAID = {
    "describe": "The words for the picture are kept.",
    "remove": "The picture is gone.",
    **dict.fromkeys(MOVES, "The order is kept."),
}


@pages.get("/pictures/<sha256>.<ending>")
def show(sha256: str, ending: str) -> Response:
    """The bytes of one size of a picture."""
    if ending not in KINDS or not SHA256.fullmatch(sha256):
        raise NotFound("There is no such picture.")
    with here().database.reading() as db:
        data = gallery.published(db, KINDS[ending], sha256)
        public = data is not None
        # Who asks matters for a draft only: what is public is the same for everybody, and any cache may keep it.
        if data is None:
            data = gallery.drafted(db, KINDS[ending], sha256, _creator_id())
    response = Response(data, content_type=f"image/{KINDS[ending]}", headers=PICTURE_HEADERS)
    response.headers["Cache-Control"] = FOR_EVER if public else FOR_THE_CREATOR
    response.set_etag(sha256)
    return response.make_conditional(request)


@pages.get("/drafts/<campaign_id>/pictures")
@creators_only
def edit(campaign_id: str) -> Answer:
    """The pictures of a draft."""
    return _page(campaign_id, PictureForm())


@pages.post("/drafts/<campaign_id>/pictures")
@creators_only
def add(campaign_id: str) -> Answer:
    """One more picture, with what it shows."""
    form = PictureForm()
    problems = _checked(campaign_id, form)
    data = _sent()
    try:
        if not problems:
            files = make_anew(data)  # takes seconds, so before the transaction
            with here().database.transaction() as db:
                gallery.add(db, _creator_id(), campaign_id, files, form.alt.data or "")
            flash("The picture is added.", "good")
            return redirect(url_for("pictures.edit", campaign_id=campaign_id), 303)
    except NotFound:
        raise
    except UserError as error:
        problems = [error]
    for problem in problems:
        show_problems(form, problem)
    return _page(campaign_id, form)


@pages.post("/drafts/<campaign_id>/pictures/<number:picture_id>")
@creators_only
def change(campaign_id: str, picture_id: int) -> Answer:
    """Other words, another place, or away with it: the button says which."""
    form, wanted = AltForm(prefix=f"p{picture_id}-"), request.form.get("do", "")
    try:
        with here().database.transaction() as db:
            if wanted == "describe":
                gallery.describe(db, _creator_id(), campaign_id, picture_id, form.alt.data or "")
            elif wanted == "remove":
                gallery.remove(db, _creator_id(), campaign_id, picture_id)
            elif wanted in MOVES:
                gallery.move(db, _creator_id(), campaign_id, picture_id, gallery.Move(wanted))
            else:
                raise UserError("Choose what to do with the picture.")
        flash(SAID[wanted], "good")
        return redirect(url_for("pictures.edit", campaign_id=campaign_id), 303)
    except NotFound:
        raise
    except UserError as error:
        show_problems(form, error)
        return _page(campaign_id, PictureForm(formdata=None), {picture_id: form})


def _checked(campaign_id: str, form: PictureForm) -> list[UserError]:
    """What can be said before the picture is opened, which costs much. Raises NotFound."""
    problems = []
    with here().database.reading() as db:
        for check in (
            lambda: gallery.check_room(db, _creator_id(), campaign_id),
            lambda: gallery.check_alt(form.alt.data or ""),
        ):
            try:
                check()
            except NotFound:
                raise
            except UserError as error:
                problems.append(error)
    if FIELD not in request.files or not request.files[FIELD].filename:
        problems.append(UserError("Choose a picture first.", FIELD))
    return problems


def _sent() -> bytes:
    """The file, or as much of it as shows that it is too large."""
    return request.files[FIELD].stream.read(MAX_BYTES + 1) if FIELD in request.files else b""


def _page(campaign_id: str, form: PictureForm, typed: dict[int, AltForm] | None = None) -> Answer:
    with here().database.reading() as db:
        campaign = service.own_campaign(db, _creator_id(), campaign_id)
        if campaign.terms is not None:
            flash(gallery.FROZEN, "bad")
            return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
        views = [picture_view(picture) for picture in gallery.of_campaign(db, campaign_id)]
    return _rendered(campaign, views, form, typed or {})


def _rendered(campaign: Campaign, views: list[PictureView], form: PictureForm, typed: dict[int, AltForm]) -> Answer:
    alts = {
        view.id: typed.get(view.id) or AltForm(formdata=None, prefix=f"p{view.id}-", data={"alt": view.alt})
        for view in views
    }
    page = render_template(
        "pictures.html", campaign=campaign, pictures=views, alts=alts, form=form, room=len(views) < gallery.MOST,
        most=gallery.MOST,
    )  # fmt: skip
    return page, 422 if form.is_submitted() else 200


def _creator_id() -> int:
    creator = current_creator()
    if creator is None:
        raise NotFound("Please log in first.")
    return creator.id
