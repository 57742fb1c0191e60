"""Without a mouse: every step of a pledge and all of every page by keys alone, and the focus can always be seen. And
one form too large."""

from __future__ import annotations

from crowdfund.demo.house import House
from support.browsing import Meet, Person, draft_fields
from support.every_page import Pages
from support.node import new_address

FOCUS = """() => {
  const el = document.activeElement, style = getComputedStyle(el), box = el.getBoundingClientRect();
  return { id: el.id, text: (el.innerText || el.value || "").trim().replace(/\\s+/g, " "),
           seen: style.outlineStyle !== "none" && box.bottom > 0 && box.top < innerHeight };
}"""

# What can be pressed, typed into or chosen, each with its place; of radio buttons with one name, keys come to one.
REACHABLE = """() => {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")];
  const open = all.filter((el) => el.type !== "hidden" && !el.disabled && el.checkVisibility());
  const first = (el) => open.findIndex((other) => other.type === "radio" && other.name === el.name);
  window.place = (el) => (el.type === "radio" ? first(el) : open.indexOf(el));
  return open.filter((el, i) => place(el) === i).map((el) => [place(el), el.outerHTML.slice(0, 120)]);
}"""
# The place of what has the focus, null once it has left the page; whether it has parts, of which the browser itself
# shows the one with the focus; whether that is seen.
STOP = """() => {
  const el = document.activeElement, style = getComputedStyle(el), box = el.getBoundingClientRect();
  if (el === document.body) return [null, false, true];
  const parts = el.type === "datetime-local";
  const drawn = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [place(el), parts, (drawn || parts) && box.bottom > 0 && box.top < innerHeight];
}"""
MOST_STOPS = 250


def tab_to(person: Person, *, text: str = "", name: str = "", most: int = 40) -> list[str]:
    """Press Tab until the element has the focus; returns all that had it on the way.

    It must be seen each time; a deadline has parts, and the browser itself shows which of them has the focus.
    """
    way: list[str] = []
    for _ in range(most):
        person.page.keyboard.press("Tab")
        now = person.page.evaluate(FOCUS)
        assert now["seen"] or now["id"] == "deadline", f"the focus on {now} cannot be seen"
        way.append(now["id"] or now["text"])
        if (text and now["text"] == text) or (name and now["id"] == name):
            return way
    raise AssertionError(f"{text or name} is not reached: {way}")


def test_a_pledge_by_keys_alone(meet: Meet, house: House) -> None:
    alice, bob = meet(), meet(reduced_motion="reduce")
    alice.sign_up("Alice of the keys")
    bob.page.goto(alice.write_campaign(house.node))
    keys = bob.page.keyboard
    assert tab_to(bob, text="Skip to the content") == ["Skip to the content"]
    keys.press("Enter")
    assert bob.page.evaluate("document.activeElement.id") == "main"
    assert tab_to(bob, text="Pledge") == ["Pledge"]  # the first thing after the skip
    keys.press("Enter")
    bob.page.wait_for_url("**/pledge")
    tab_to(bob, name="amount")
    keys.type("5")
    tab_to(bob, name="refund_address")
    keys.type("nowhere")
    keys.press("Enter")
    bob.shows("#errors", "Please mend this first")
    tab_to(bob, text="Amount")
    keys.press("Enter")
    assert bob.page.evaluate("location.hash") == "#amount"
    assert bob.page.evaluate("document.activeElement.id") == "amount"
    keys.press("Control+A")
    keys.type("0.0005")
    assert tab_to(bob, name="amount_unit-0")
    keys.press("ArrowRight")
    assert bob.page.is_checked("#amount_unit-1")
    tab_to(bob, name="refund_address")
    keys.press("Control+A")
    keys.type(new_address(house.node))
    passed = tab_to(bob, text="Show me where to pay")
    assert passed == ["name", "message", "Paying from an exchange?", "Show me where to pay"]
    keys.press("Enter")
    bob.page.wait_for_url("**/p/*")
    assert bob.wallet_link().endswith("?amount=0.00050000")
    way = tab_to(bob, text="Copy the link")
    assert "Open in wallet" in way and "Copy address" in way


def test_a_draft_is_published_by_keys_alone(meet: Meet, house: House) -> None:
    alice = meet(reduced_motion="reduce")
    alice.sign_up("Alice of more keys")
    alice.page.goto("/drafts/new")
    keys = alice.page.keyboard
    fields = draft_fields(house.node)
    for name in ("title", "summary", "story", "project_url", "license", "goal"):
        tab_to(alice, name=name)
        keys.type(fields[name])
    tab_to(alice, name="deadline")
    alice.fill(deadline=fields["deadline"])
    tab_to(alice, name="payout_address")
    keys.type(fields["payout_address"])
    tab_to(alice, text="Save and preview")
    keys.press("Enter")
    alice.page.wait_for_url("**/preview")
    tab_to(alice, text="Freeze the terms and publish")
    keys.press("Enter")
    alice.page.wait_for_url("**/campaigns/*")
    alice.shows(".flash", "Published.")


def test_a_story_that_is_far_too_long_comes_back_with_all_that_was_typed(meet: Meet, house: House) -> None:
    alice = meet()
    alice.sign_up("Alice the verbose")
    alice.page.goto("/drafts/new")
    alice.fill(**draft_fields(house.node))
    alice.page.evaluate("document.getElementById('story').value = 'word '.repeat(200000)")
    alice.press("Save and preview")
    alice.shows("#story-error", "The story has 999999 characters; at most 50000 fit.")
    assert alice.page.input_value("#title") == draft_fields(house.node)["title"]
    assert len(alice.page.input_value("#story")) == 1_000_000
    alice.allowed_codes.add(413)
    alice.page.evaluate("document.getElementById('story').value = 'word '.repeat(600000)")
    alice.press("Save and preview")
    alice.shows("h1", "Too large")


def test_all_of_every_page_is_reached_by_keys_and_the_focus_is_seen(pages: Pages, owner: Person) -> None:
    faults: list[str] = []
    for name, path in pages.paths.items():
        owner.page.goto(path)
        faults += [f"{name}: {fault}" for fault in stops(owner)]
    assert not faults, "\n".join(faults)


def stops(person: Person) -> list[str]:
    """What keys do not come to on the open page, and where it is not seen that they have."""
    wanted: dict[int, str] = dict(person.page.evaluate(REACHABLE))
    reached: set[int] = set()
    faults: list[str] = []
    for _ in range(MOST_STOPS):
        person.page.keyboard.press("Tab")
        place, has_parts, is_seen = person.page.evaluate(STOP)
        if place is None or (place in reached and place >= 0 and not has_parts):
            break
        reached.add(place)
        if not is_seen:
            faults.append(f"the focus on {wanted.get(place)} cannot be seen")
    return faults + [f"{wanted[each]} is not reached" for each in wanted.keys() - reached]
