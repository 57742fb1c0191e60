"""An example of open software: a system for an abandoned e-reader. Funded, paid out, and partly delivered."""

from __future__ import annotations

from crowdfund.demo.example import Backing, Example, Offer, Picture, Project, Question

PROJECT = Project(
    name="Driftleaf",
    kind="software",
    repository_url="https://git.example.org/driftleaf",
    site_url="https://driftleaf.example.org",
    license="GPL-3.0-or-later",
    summary="A small free system for e-readers whose makers have gone: books from a card, no account, no network.",
    team=(("Ilse Brandt", "treasurer"),),
)

FUNDED = Example(
    title="Firmware for the orphaned e-reader",
    summary="A free operating system for a million readers whose maker has switched off its servers.",
    story="""The maker is gone, the servers are silent, and a million good screens lie in drawers. Without its server
the reader does not even set its clock; without its clock it opens no book.

**Driftleaf** starts from the card slot and leaves what is inside the reader as it is. You take the card out, and it is
the old reader again.

## What it does

- reads EPUB and plain text, with your own fonts, from the same card
- turns a page in 0.3 seconds; the old system took 0.9
- three weeks on a charge, as the network is never on

## What it does not do

It has no shop, no account and no browser. It will not read books that are locked to the dead shop: we could not ask
you to pay for that, nor would we know how to do it lawfully.

## How we get there

The boot loader and the display of the first model work. The money pays for two of us to do the sister models, power
saving, and an installer that my father can use.
""",
    project=PROJECT,
    license="GPL-3.0-or-later",
    goal_sats=3_600_000,
    pledges=(
        Backing(
            "Bo",
            "I have three of them in a drawer.",
            700_000,
            reward=1,
            comment="Two of three run. The third one was my own fault.",
        ),
        Backing("", "", 350_000),
        Backing(
            "Repair café Ulm",
            "Forty readers wait on our shelf.",
            1_200_000,
            reward=1,
            comment="Thirty-eight of forty read again. The children’s library has taken them all.",
        ),
        Backing("Sunniva", "", 450_000),
        Backing("Tomás", "For my mother’s.", 60_000, 75_000),
        Backing("Free Libraries Fund", "", 1_150_000),
    ),
    details={
        "deliverables": [
            {
                "title": "Boot loader and system image",
                "license": "GPL-3.0-or-later",
                "url": "https://git.example.org/driftleaf",
                "state": "planned",
            },
            {"title": "Installer for three desktops", "license": "GPL-3.0-or-later", "url": "", "state": "planned"},
            {
                "title": "Notes on the five display controllers",
                "license": "CC-BY-SA-4.0",
                "url": "",
                "state": "planned",
            },
        ],
        "budget": [
            {"title": "Sister models: two developers, ten weeks", "kind": "task", "need": "needed", "sats": 2_300_000},
            {"title": "Installer", "kind": "task", "need": "needed", "sats": 800_000},
            {"title": "Readers to open, and a logic analyser", "kind": "material", "need": "needed", "sats": 350_000},
            {
                "title": "A machine that builds every image anew",
                "kind": "infrastructure",
                "need": "needed",
                "sats": 150_000,
            },
            {"title": "Right-to-left scripts", "kind": "task", "need": "optional", "sats": 600_000},
        ],
        "rewards": [
            {
                "title": "A card, ready to read",
                "text": "With the system and two hundred free books.",
                "minimum_sats": 100_000,
                "stock": 50,
            },
            {
                "title": "An evening for your repair café",
                "text": "One of us comes along with cards, spare batteries and patience.",
                "minimum_sats": 700_000,
                "stock": 4,
            },
        ],
        "returns": [
            {
                "title": "How to read out a display controller",
                "text": "A talk and its slides, for the next orphaned device.",
                "license": "CC-BY-SA-4.0",
            }
        ],
        "needs": [
            {"title": "Old readers, broken ones too", "kind": "tool", "amount": 6, "unit": "readers"},
            {"title": "People who try a release", "kind": "time", "amount": 20, "unit": "hours"},
        ],
        "risks": """Two of the five display controllers are undocumented. We can read them out, but it takes time: if
one resists, its model comes later than the others.""",
        "about": """Ilse writes drivers by day, too. Mehmet runs a repair café and knows every screw. Alice keeps the
builds reproducible.""",
    },
    pictures=(
        Picture(
            "reader-window.webp",
            "An e-reader with a drawn sailing boat on its screen leans at a rainy window, beside "
            "a cup, books and a plant",
        ),
        Picture(
            "reader-parts.webp",
            "An e-reader taken apart on a cutting mat: frame, screen, board, battery, and an orange memory card",
        ),
    ),
    updates=(
        (
            "All five screens work",
            """The fifth controller gave in last night. Its notes are in the repository, with a drawing of the
signal that had fooled us for three weeks.""",
        ),
        (
            "Paid out, and published",
            """The goal was reached and the money has arrived, in one transaction that you find on this page. **Version
1.0 is out.** Put it on a card, put the card into the reader, hold the power key for ten seconds.

The installer for three desktops takes two weeks more: it must not write to the wrong disk, and we test that on people
who do not read instructions.
""",
        ),
    ),
    questions=(
        Question(
            "Grete",
            "What happens to the books that I bought in the shop?",
            "They stay where they are, in the reader’s own memory, and we do not touch them. Take the card out and the "
            "old system opens those that it still can.",
        ),
        Question(
            "Paolo",
            "Does it do Arabic?",
            "Letters yes, the right direction not yet. It is the optional line of the "
            "budget, and we have not reached it.",
        ),
    ),
    offers=(
        Offer(
            0,
            4,
            "Repair café Ulm",
            "cafe@example.org",
            "Four with broken glass, boards are fine.",
            "All four are on the bench.",
        ),
        Offer(
            1, 20, "Grete", "grete@example.org", "I am 74 and break everything.", "The best tester whom we have had."
        ),
    ),
    delivered=(
        (0, "https://git.example.org/driftleaf/releases/1.0"),
        (2, "https://git.example.org/driftleaf/controllers"),
    ),
)
