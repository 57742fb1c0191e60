"""Pictures as templates show them: addresses and sizes, so that a page keeps their place before they are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flask import url_for
from sqlalchemy.orm import Session

from crowdfund.campaigns import gallery
from crowdfund.campaigns.picture_models import Picture, PictureRow

ENDINGS = {"webp": "webp", "jpeg": "jpg"}


@dataclass(frozen=True)
class PictureView:
    """A picture; width and height are those of its widest file, in pixels. `shared_src` is the one for other sites'
    pages, or empty."""

    id: int
    alt: str
    sha256: str
    src: str
    srcset: str
    width: int
    height: int
    shared_src: str


def picture_view(picture: Picture) -> PictureView:
    """The page's view of a picture."""
    sizes = [file for file in picture.files if file.kind == "webp"]
    shared = [address(file) for file in picture.files if file.kind == "jpeg"]
    widest = sizes[-1]
    return PictureView(
        id=picture.id,
        alt=picture.alt,
        sha256=picture.sha256,
        src=address(widest),
        srcset=", ".join(f"{address(file)} {file.width}w" for file in sizes),
        width=widest.width,
        height=widest.height,
        shared_src=shared[0] if shared else "",
    )


def address(file: PictureRow) -> str:
    """Where a file is served: its content names it, so what is there never changes."""
    return url_for("pictures.show", sha256=file.sha256, ending=ENDINGS[file.kind])


def views_of(session: Session, campaign_ids: Iterable[str]) -> Mapping[str, Sequence[PictureView]]:
    """The pictures of each campaign that has any, in their order."""
    found = gallery.of_campaigns(session, campaign_ids)
    return {campaign_id: [picture_view(picture) for picture in pictures] for campaign_id, pictures in found.items()}
