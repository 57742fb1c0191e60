"""An example of open culture: a spoken phrasebook of ten languages, nearly there with days left."""

from __future__ import annotations

from crowdfund.demo.example import Backing, Example, Offer, Picture, Project, Question

PROJECT = Project(
    name="River Phrasebook",
    kind="culture",
    repository_url="https://git.example.org/river-phrasebook",
    site_url="https://river-phrasebook.example.org",
    license="CC-BY-SA-4.0",
    summary="Everyday sentences in the ten languages of one river, recorded by the people who speak them.",
    team=(("Tomás Aruna", "editor"),),
)

OPEN = Example(
    title="A phrasebook of ten river languages",
    summary="Four hundred everyday sentences, recorded by the people who speak them, free for every school and app.",
    story="""Ten languages along one river, each spoken by fewer than nine thousand people. There are hymn books in
six of them, a grammar of two, and hardly a recording in which somebody asks for salt.

We travel the river by boat, from the spring to the delta, and record what people say every day: at the landing stage,
at the stove, at the doctor’s, in a quarrel, to a child that will not sleep.

> “When my grandmother is gone there is nobody whom I could ask how to say that the water is high but friendly.”
>
> a speaker of the third language, on our first journey

## How we record

- **Two speakers for each language,** an older and a younger one, paid by the day as teachers are.
- **At home,** not in a studio. You will hear hens.
- **They decide.** Each speaker hears all recordings before they are published, and what one wants to keep back stays
  with the family.

## What there is already

The first language is complete: 412 sentences, four hours of sound, recorded with a borrowed microphone. A school at
the landing stage uses it every morning.
""",
    project=PROJECT,
    license="CC-BY-SA-4.0",
    goal_sats=2_400_000,
    pledges=(
        Backing(
            "Imani",
            "For my grandmother’s language.",
            600_000,
            reward=2,
            comment="I have not heard the word for “friendly water” since I was six.",
        ),
        Backing("", "", 150_000),
        Backing("Joost", "Looking forward to the FLAC files.", 240_000, reward=1),
        Backing(
            "Library of Ansó",
            "",
            500_000,
            reward=1,
            comment="We will keep a copy of the archive, and print the booklets for our reading room.",
        ),
        Backing("Tomoko", "", 90_000, reward=0),
        Backing("Baptiste", "Leave the hens in.", 130_000, reward=1),
        Backing("", "", 40_000, reward=0),
        Backing("Two sisters", "", 200_000, reward=1),
        Backing("Milan", "", 70_000, reward=0),
        Backing("Zoë", "I learned my first forty words with the first language.", 160_000, reward=1),
    ),
    details={
        "deliverables": [
            {
                "title": "Recordings of the first language (FLAC)",
                "license": "CC-BY-SA-4.0",
                "url": "https://river-phrasebook.example.org/first",
                "state": "there",
            },
            {"title": "Recordings of nine more languages", "license": "CC-BY-SA-4.0", "url": "", "state": "planned"},
            {
                "title": "Transcriptions and translations, as plain tables",
                "license": "CC0-1.0",
                "url": "https://git.example.org/river-phrasebook",
                "state": "planned",
            },
            {
                "title": "A booklet for each language, to print",
                "license": "CC-BY-SA-4.0",
                "url": "",
                "state": "planned",
            },
        ],
        "budget": [
            {"title": "Eighteen speakers, four days each", "kind": "task", "need": "needed", "sats": 1_000_000},
            {"title": "Boat, fuel and lodging", "kind": "material", "need": "needed", "sats": 450_000},
            {"title": "Cutting, transcribing, translating", "kind": "task", "need": "needed", "sats": 600_000},
            {"title": "Two recorders with microphones", "kind": "material", "need": "needed", "sats": 200_000},
            {
                "title": "Ten years of archive space, in two places",
                "kind": "infrastructure",
                "need": "needed",
                "sats": 150_000,
            },
            {"title": "Printed booklets for 31 schools", "kind": "material", "need": "optional", "sats": 520_000},
            {"title": "An eleventh language, in the delta", "kind": "task", "need": "optional", "sats": 280_000},
        ],
        "rewards": [
            {
                "title": "A postcard that speaks",
                "text": "A drawing of the river, a sentence by hand, and a code that plays it.",
                "minimum_sats": 40_000,
                "stock": 60,
            },
            {
                "title": "Your name, said by a speaker",
                "text": "In the thanks at the end of the archive, in the language that you choose.",
                "minimum_sats": 120_000,
                "stock": 0,
            },
            {
                "title": "A day on the boat",
                "text": "You hold the microphone. Bring a hat.",
                "minimum_sats": 600_000,
                "stock": 2,
            },
        ],
        "returns": [
            {
                "title": "A way to make your own",
                "text": "The list of sentences, the forms of consent and our notes, for people at another river.",
                "license": "CC-BY-SA-4.0",
            }
        ],
        "needs": [
            {"title": "Ears that cut recordings", "kind": "time", "amount": 120, "unit": "hours"},
            {"title": "Somebody who sets booklets", "kind": "skill", "amount": 1, "unit": "people"},
        ],
        "risks": """**The road.** The rainy season closes it for weeks. If we lose a month, the booklets come a month
later; the recordings do not depend on it.

**Consent.** A speaker may say no after the recording. We plan with two for each language
and a third one in reserve.""",
        "about": """Seven teachers and two sound engineers. Tomás grew up at the third landing stage; Alice keeps the
archive. We recorded the first language last year, in our holidays.""",
    },
    pictures=(
        Picture(
            "river-boat.webp",
            "Two women in a long boat at dusk, one holds a microphone; the trees on the bank and "
            "their reflection look like the waves of a recording",
        ),
        Picture("river-table.webp", "A recorder, headphones, a booklet with a drawn fish and a cup on a wooden table"),
        Picture(
            "river-map.webp", "Map of a river from its spring to the delta, with a sign for sound at ten landing stages"
        ),
    ),
    updates=(
        (
            "The list of sentences is done",
            """Forty teachers have voted on it. Out went “Where is the railway station?”, for there is none. In came
“The ferry has gone, sit down and eat with us”.
""",
        ),
        (
            "We have a boat",
            """Eleven metres, a roof against the rain, and an engine that Tomás’s uncle has known for thirty
years. It is lent to us for the season; we pay for fuel and paint.
""",
        ),
    ),
    questions=(
        Question(
            "Nadia",
            "May a company use the recordings to train a voice?",
            "The licence asks them to name the speakers and to share what they make alike. Each speaker was told this "
            "before the first word, and two have said no to it: theirs stay out.",
        ),
        Question(
            "Luis",
            "How do you write a language that has no spelling?",
            "As its speakers do in messages to each other, and beside it in the phonetic alphabet.",
        ),
    ),
    offers=(
        Offer(
            0,
            30,
            "Radio Confluence",
            "studio@example.org",
            "Two of us cut for a living and have quiet evenings.",
            "Thirty hours of trained ears. We owe you a fish.",
        ),
        Offer(
            0,
            12,
            "Edda",
            "edda@example.org",
            "I cut podcasts. No idea of the languages, but I know hens.",
            "Hens it is.",
        ),
    ),
)
"""Nine tenths of the goal, four days before its end."""
