"""The tables of pictures: what a campaign shows, and the bytes. A campaign's pictures freeze with its terms; triggers
in the migrations see to that."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.campaigns.models import Campaign
from crowdfund.db import Base


class Picture(Base):
    """A picture of a campaign; the lowest `position` is its cover. `sha256` names its widest file, `alt` says what it
    shows."""

    __tablename__ = "pictures"
    __table_args__ = (
        UniqueConstraint("campaign_id", "position"),
        UniqueConstraint("campaign_id", "sha256"),
        CheckConstraint("position >= 0", name="position_from_zero"),
        CheckConstraint("length(sha256) = 64", name="sha256_in_hex"),
        CheckConstraint("length(alt) BETWEEN 1 AND 250", name="alt_of_a_line"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id))
    position: Mapped[int]
    sha256: Mapped[str]
    alt: Mapped[str]

    campaign: Mapped[Campaign] = relationship()
    files: Mapped[list[PictureRow]] = relationship(back_populates="picture", order_by="PictureRow.width", cascade="all")


class PictureRow(Base):
    """One size of a picture, served under the SHA-256 of its bytes. Never changed."""

    __tablename__ = "picture_files"
    __table_args__ = (
        CheckConstraint("kind IN ('webp', 'jpeg')", name="kind_known"),
        CheckConstraint("width BETWEEN 1 AND 1600", name="width_in_range"),
        CheckConstraint("height BETWEEN 1 AND 2400", name="height_in_range"),
        CheckConstraint("length(data) BETWEEN 1 AND 1000000", name="data_of_a_megabyte"),
    )

    picture_id: Mapped[int] = mapped_column(ForeignKey(Picture.id), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    width: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    height: Mapped[int]
    sha256: Mapped[str] = mapped_column(index=True)
    data: Mapped[bytes] = mapped_column(LargeBinary, deferred=True, nullable=False)

    picture: Mapped[Picture] = relationship(back_populates="files")
