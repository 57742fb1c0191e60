"""Pictures on the site: sent, described, ordered, removed, shown; and served so that a browser can do nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import select, update
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from crowdfund import create_app
from crowdfund.campaigns import gallery, service
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.campaigns.picture_models import Picture
from crowdfund.web.site import Site
from support.images import PLANTED, encoded, exif, halves, jpeg_claiming, pixel
from support.paper import Paper
from support.site import Visitor, field_error, sentences

PICTURE = encoded(halves(size=(1_300, 700)), "JPEG", exif=exif())


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    with Paper(tmp_path_factory.mktemp("paper")) as made:
        yield made


@pytest.fixture(scope="module")
def app(paper: Paper) -> Iterator[Flask]:
    made = create_app(paper.settings)
    yield made
    found: Site = made.extensions["crowdfund"]
    found.database.close()


@pytest.fixture(scope="module")
def ann(app: Flask) -> Visitor:
    visitor = Visitor(app)
    visitor.sign_up("Ann")
    return visitor


@pytest.fixture
def draft(paper: Paper, ann: Visitor) -> str:
    with paper.database.transaction() as db:
        owner = db.scalars(select(Creator.id).where(Creator.key == "ann")).one()
        return service.save_draft(db, paper.settings, owner, paper.draft()).id


def send(visitor: Visitor, draft: str, data: bytes | None = PICTURE, alt: str = "Two halves") -> TestResponse:
    form: dict[str, object] = {"csrf_token": visitor.csrf_token("/login"), "alt": alt}
    if data is not None:
        form["picture"] = FileStorage(io.BytesIO(data), "../../etc/evil.svg", content_type="image/svg+xml")
    boundary, body = encode_multipart(form)
    return visitor.client.post(
        f"/drafts/{draft}/pictures", data=body, content_type=f"multipart/form-data; boundary={boundary}"
    )


def pictures(paper: Paper, draft: str) -> list[Picture]:
    with paper.database.reading() as db:
        return gallery.of_campaign(db, draft)


def publish(paper: Paper, draft: str) -> None:
    with paper.database.transaction() as db:
        owner = db.get_one(Campaign, draft).creator_id
        db.execute(update(Campaign).where(Campaign.id == draft).values(title=f"Drill {draft}"))
        db.expire_all()
        service.publish(db, paper.settings, owner, draft)


def test_from_the_file_to_the_public_page(
    paper: Paper, app: Flask, ann: Visitor, draft: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"/drafts/{draft}/pictures" in ann.get(f"/drafts/{draft}/edit").get_data(as_text=True)
    answer = send(ann, draft, alt='Two "halves" & <b>')
    assert answer.status_code == 303, sentences(answer)
    assert send(ann, draft, encoded(halves(size=(200, 200)), "PNG"), "The second").status_code == 303
    editing = ann.get(f"/drafts/{draft}/pictures").get_data(as_text=True)
    assert "The picture is added." in editing and 'value="Two &#34;halves&#34; &amp; &lt;b&gt;"' in editing
    assert "The second" in ann.get(f"/drafts/{draft}/preview").get_data(as_text=True)
    publish(paper, draft)
    page = Visitor(app).get(f"/campaigns/{draft}").get_data(as_text=True)
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 2 and 'width="1300" height="700"' in images[0] and 'loading="lazy"' in images[1]
    assert 'alt="Two &#34;halves&#34; &amp; &lt;b&gt;"' in images[0] and "480w, " in images[0]
    assert f'<meta property="og:image" content="{paper.settings.base_url}/campaigns/{draft}/card.png">' in page
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)  # the card is drawn without opening a picture in this process
        drawn = [Visitor(app).get(f"/campaigns/{draft}/{name}.png").data for name in ("card", "poster")]
    shared, paper_ = (Image.open(io.BytesIO(data)) for data in drawn)
    assert pixel(paper_, 100, 300)[0] > 200 and pixel(paper_, 1_140, 300)[2] > 200
    assert pixel(shared, 830, 300)[0] > 200 and pixel(shared, 1180, 300)[2] > 200, "red and blue, as it is"
    card = Visitor(app).get("/").get_data(as_text=True)
    assert any('width="1300"' in tag and 'loading="lazy"' in tag for tag in re.findall(r"<img [^>]*>", card))
    for address in set(re.findall(r"/pictures/[0-9a-f]{64}\.(?:webp|jpg)", page)):
        assert Visitor(app).get(address).status_code == 200


def test_how_a_picture_is_served(paper: Paper, app: Flask, ann: Visitor, draft: str) -> None:
    shown_nowhere_else = encoded(halves(size=(1_290, 700)), "JPEG", exif=exif())
    assert send(ann, draft, shown_nowhere_else).status_code == 303
    (picture,) = pictures(paper, draft)
    for file in picture.files:
        address = f"/pictures/{file.sha256}.{'jpg' if file.kind == 'jpeg' else 'webp'}"
        assert Visitor(app).get(address).status_code == 404, "a draft is private"
        own = ann.get(address)
        assert own.status_code == 200 and own.headers["Cache-Control"] == "private, no-cache"
    publish(paper, draft)
    for file in picture.files:
        address = f"/pictures/{file.sha256}.{'jpg' if file.kind == 'jpeg' else 'webp'}"
        answer = Visitor(app).get(address)
        assert answer.status_code == 200 and PLANTED not in answer.data
        assert answer.headers["Content-Type"] == f"image/{file.kind}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in answer.headers and "Vary" not in answer.headers
        again = Visitor(app).get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.data


@pytest.mark.parametrize(
    "path",
    ["0" * 64 + ".webp", "0" * 64 + ".svg", "x.webp", "%2e%2e/secret_key.webp", "0" * 63 + "%00.webp", "' OR 1=1.webp"],
)
def test_addresses_that_name_no_picture(app: Flask, path: str) -> None:
    answer = Visitor(app).get(f"/pictures/{path}")
    assert answer.status_code == 404 and answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("data", "alt", "field", "part"),
    [
        (None, "Kept words", "picture", "Choose a picture"),
        (b"", "Kept words", "picture", "Choose a picture"),
        (b"<svg onload=alert(1)>", "Kept words", "picture", "not a picture"),
        (PICTURE + bytes(8 << 20), "Kept words", "picture", "more than 8 MB"),
        (jpeg_claiming(60_000, 60_000), "Kept words", "picture", "too many pixels"),
        (PICTURE[:3_000], "Kept words", "picture", "damaged"),
        (PICTURE, "", "alt", "Say what the picture shows"),
        (PICTURE, "Kept words" * 30, "alt", "250 characters"),
    ],
)
def test_what_cannot_be_taken_is_said_at_its_field_and_nothing_typed_is_lost(
    paper: Paper, ann: Visitor, draft: str, data: bytes | None, alt: str, field: str, part: str
) -> None:
    answer = send(ann, draft, data, alt)
    assert answer.status_code == 422 and part in field_error(answer, field), sentences(answer)
    assert f'value="{alt}"' in answer.get_data(as_text=True) and not pictures(paper, draft)


def test_both_faults_are_told_at_once(ann: Visitor, draft: str) -> None:
    answer = send(ann, draft, None, "")
    assert field_error(answer, "picture") and field_error(answer, "alt")


def test_far_too_much_is_cut_off(app: Flask, ann: Visitor, draft: str) -> None:
    """A creator may send four times what fits, to be told so; others get no room at all."""
    assert send(ann, draft, bytes(33 << 20)).status_code == 413
    assert send(Visitor(app), draft, bytes(3 << 20)).status_code == 413


def test_words_order_and_removal(paper: Paper, ann: Visitor, draft: str) -> None:
    for number in range(3):
        assert send(ann, draft, encoded(halves(size=(100 + number, 100)), "PNG"), f"No {number}").status_code == 303
    first, second, third = (picture.id for picture in pictures(paper, draft))

    def do(what: str, picture: int, alt: str = "") -> TestResponse:
        form = {"do": what, f"p{picture}-alt": alt}
        return ann.post(f"/drafts/{draft}/pictures/{picture}", form, page="/login")

    for what, picture, alt in (
        ("first", third, ""), ("later", third, ""), ("earlier", second, ""), ("describe", second, "Other words"),
        ("remove", first, ""),
    ):  # fmt: skip
        assert do(what, picture, alt).status_code == 303
    assert [picture.alt for picture in pictures(paper, draft)] == ["Other words", "No 2"]
    wrong = do("describe", second, "x" * 251)
    assert wrong.status_code == 422 and "250" in field_error(wrong, f"p{second}-alt")
    assert "x" * 251 in wrong.get_data(as_text=True) and "No 2" in wrong.get_data(as_text=True)
    assert do("burn", second).status_code == 422 and do("remove", 10**6).status_code == 404
    assert len(pictures(paper, draft)) == 2


def test_nobody_else_and_nothing_after_publishing(paper: Paper, app: Flask, ann: Visitor, draft: str) -> None:
    assert send(ann, draft).status_code == 303
    stranger, page = Visitor(app), f"/drafts/{draft}/pictures"
    assert stranger.get(page).status_code == 303 and send(stranger, draft).status_code == 303
    eve = Visitor(app)
    eve.sign_up(f"Eve {draft}")
    assert eve.get(page).status_code == 404 and send(eve, draft).status_code == 404
    assert ann.client.post(page, data={"picture": (io.BytesIO(PICTURE), "x")}).status_code == 400, "without its token"
    publish(paper, draft)
    (picture,) = pictures(paper, draft)
    assert ann.get(page).status_code == 303
    gone = ann.post(f"{page}/{picture.id}", {"do": "remove"}, page="/login")
    added = send(ann, draft, encoded(halves(size=(90, 90)), "PNG"))
    assert gone.status_code == added.status_code == 303 and gone.location == added.location == f"/campaigns/{draft}"
    assert [p.id for p in pictures(paper, draft)] == [picture.id]


def test_a_campaign_without_pictures_shows_its_pattern(paper: Paper, app: Flask) -> None:
    page = Visitor(app).get(f"/campaigns/{paper.campaign()}").get_data(as_text=True)
    assert "<img" not in page and "/pictures/" not in page and 'class="pattern' in page
