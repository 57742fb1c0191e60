"""The pictures in README and guides are there, small, told in words, and none is left over."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
MARKDOWN = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
HTML = re.compile(r'<img src="([^"]+)" alt="([^"]*)"')


def shown() -> list[tuple[Path, str]]:
    """(file, what is said of it) of each picture."""
    found = []
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        pairs = [(path, words) for words, path in MARKDOWN.findall(text)] + HTML.findall(text)
        found += [(page.parent / path, words) for path, words in pairs]
    return found


def test_each_picture_is_there_and_told_in_words() -> None:
    files = {path.resolve() for path, _ in shown()}
    assert files == set((ROOT / "docs" / "pictures").iterdir()) and len(files) >= 9
    assert all(len(words) > 20 for _, words in shown())
    for path in files:
        assert path.stat().st_size < 150_000, path.name
        with Image.open(path) as picture:
            assert picture.width >= 500


def test_the_creators_guide_shows_what_it_speaks_of() -> None:
    named = {path.stem for path, _ in shown() if "docs/pictures" in str(path.resolve())}
    assert named >= {"wizard", "preview", "dashboard", "campaign", "project"}
