"""The demo's pictures are what their SVG sources draw today: nobody changes one and forgets the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser

from crowdfund.demo.example import PICTURES
from support.pages import HEIGHT, WIDTH, drawn


@pytest.mark.parametrize("source", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_is_what_its_source_draws(browser: Browser, source: Path) -> None:
    kept = Image.open(source.with_suffix(".webp")).convert("RGB")
    assert kept.size == (WIDTH, HEIGHT)
    # Compression blurs edges; a part that is gone or elsewhere shows far more.
    difference = ImageChops.difference(kept, drawn(browser, source)).reduce(8)
    assert max(ImageStat.Stat(difference).mean) < 4
    assert max(high for _, high in difference.getextrema()) < 60  # type: ignore[misc]
