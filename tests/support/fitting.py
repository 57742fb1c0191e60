"""Whether a page fits into a window: nothing runs out of it, no text lies on other text."""

from __future__ import annotations

from support.browsing import Person

# Texts of different blocks that share more than three pixels both ways.
OVERLAPS = """() => {
  const shown = (el) => el.checkVisibility() && !el.closest(".unseen, .defs, .skip, svg");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const boxes = [];
  for (let node; (node = walker.nextNode()); ) {
    if (!node.data.trim() || !shown(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) boxes.push({ box, text: node.data.trim().slice(0, 40) });
  }
  const found = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 3 && high > 8) found.push(`“${a.text}” and “${b.text}”`);
  }));
  return found;
}"""
WIDEST = """() => {
  const wide = [...document.querySelectorAll("main *, header *, footer *, aside *")].filter((el) =>
    el.getBoundingClientRect().right > innerWidth + 1 && !el.closest(".scroll, pre, svg, .unseen"));
  return [document.scrollingElement.scrollWidth, innerWidth, wide.slice(0, 3).map((el) => el.outerHTML.slice(0, 80))];
}"""


def misfits(person: Person, width: int) -> list[str]:
    """What does not fit on the open page at this width."""
    person.page.set_viewport_size({"width": width, "height": 900})
    has, inner, wide = person.page.evaluate(WIDEST)
    found = [f"is {has} wide: {wide}"] if has > inner else []
    return found + list(person.page.evaluate(OVERLAPS))
