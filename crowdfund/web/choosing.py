"""The link that changes the unit amounts are shown in. Works without JavaScript and leads back to the page."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, request, url_for
from werkzeug.wrappers import Response

from crowdfund.web.site import here, local_path
from crowdfund.web.units import COOKIE, NAMES

YEAR_S = 365 * 24 * 3600

pages = Blueprint("units", __name__)


@pages.get("/unit/<unit>")
def choose(unit: str) -> Response:
    """Show amounts in this unit from now on, and go back to the page."""
    if unit not in NAMES:
        abort(404)
    answer = redirect(local_path(request.args.get("to")) or url_for("public.front"), 303)
    secure = here().settings.base_url.startswith("https://")
    answer.set_cookie(COOKIE, unit, max_age=YEAR_S, secure=secure, httponly=True, samesite="Lax")
    return answer
