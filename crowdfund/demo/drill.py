"""An example of open hardware: a seed drill. Its first campaign asked for too much; the second one is half full."""

from __future__ import annotations

from crowdfund.demo.example import Backing, Example, Offer, Picture, Project, Question

PROJECT = Project(
    name="Village Seed Drill",
    kind="hardware",
    repository_url="https://git.example.org/village-seed-drill",
    site_url="https://seed-drill.example.org",
    license="CERN-OHL-S-2.0 AND CC-BY-SA-4.0",
    summary="A seed drill that a village workshop makes from two bicycle wheels, square tube and one printed plate, "
    "and that every other workshop may copy, sell and improve.",
    technology_readiness=5,
    documentation_readiness=2,
    bom_url="https://git.example.org/village-seed-drill/parts.csv",
    team=(("Wanjiru Kamau", "editor"),),
)

MISSED = Example(
    title="Twenty seed drills for twenty villages",
    summary="We build twenty drills in our own workshop and bring one to every village of the valley.",
    story="""Two prototypes have sown eleven hectares. Now every village of the valley wants one, and we would like to
say yes to all of them.

## What we would do

- buy steel, wheels and seed plates for twenty drills
- rent a hall with three-phase power and weld for five months
- bring each drill to its village and stay a day to show it

## What becomes open

The drawings as they are, and the list of parts. There will be no time to draw them anew.
""",
    project=PROJECT,
    license="CERN-OHL-S-2.0 AND CC-BY-SA-4.0",
    goal_sats=14_000_000,
    pledges=(
        Backing("Bo", "One of them for my aunt’s village, please.", 400_000),
        Backing("Sunniva", "", 250_000),
        Backing("", "", 120_000, comment="The money came back the same afternoon. I will be there when you try again."),
    ),
    details={
        "deliverables": [
            {
                "title": "Sketches and list of parts",
                "license": "CERN-OHL-S-2.0",
                "url": "https://git.example.org/village-seed-drill",
                "state": "there",
            }
        ],
        "budget": [
            {"title": "Steel, wheels, plates", "kind": "material", "need": "needed", "sats": 7_400_000},
            {"title": "A hall with power", "kind": "infrastructure", "need": "needed", "sats": 2_600_000},
            {"title": "Two welders, five months", "kind": "task", "need": "needed", "sats": 4_000_000},
        ],
        "risks": "If steel goes on getting dearer, it will be eighteen drills instead of twenty.",
        "about": "Two farmers, a bicycle mechanic and an engineer.",
    },
    pictures=(
        Picture("drill-workshop.webp", "A workshop with a welder at work and a row of finished seed drills behind her"),
    ),
    updates=(
        (
            "What we learn from missing the goal",
            """We reached a twentieth of what we asked for, and every backer has the money back. Thank you all the same.

Most of you said the same thing: **twenty machines help twenty villages, good drawings help all of them.** You are
right. We will come back with less than half of the sum, for the drawings, six drills built by people who have never
seen one, and a season of measuring.
""",
        ),
    ),
    questions=(
        Question(
            "Ingrid",
            "Why build them all yourselves? A smith here could make one, if your drawings had measures.",
            "They have some, not all. You have just described our next campaign; thank you.",
        ),
    ),
)

OPEN = Example(
    title="A seed drill any village can build",
    summary="Drawings, parts list and build videos for a hand-pulled seed drill that a small workshop can make.",
    story="""Most fields below two hectares are still sown by hand: a bent back, a pocket full of seed, a throw. Half
of it lands where it cannot grow. A drill puts every seed at the same depth and the same distance, and one person sows
in a day what three sow by hand. The cheapest one that our dealer can order costs **a season’s income**, and its spare
plates come from another continent.

So we made one from what every market town has: two bicycle wheels, six metres of square tube, a chain, and a seed
plate from a 3D printer.

## What two prototypes have shown

| | By hand | Prototype 2 |
|---|---|---|
| One person in one day | 0.3 ha | 0.9 ha |
| Maize seed for a hectare | 25 kg | 17 kg |
| Came up within two weeks | 61 % | 84 % |

Eleven hectares, five farms, one rainy season. The counts are
[in the repository](https://git.example.org/village-seed-drill/trials), with the bad days.

## What we do with the money

1. **Draw it properly.** Each part on a page of its own, with every measure, for people who have a welder and a drill
   press and nothing else.
2. **Let strangers build it.** Three workshops that have never seen the drill build two each, from the drawings alone.
   Whatever they have to ask us is a mistake in the drawings.
3. **Measure a season,** on loam, on sand and on the stony fields in the east.
4. **Film it:** building, setting up, repairing.

## Why it has to be open

A machine that only we can make ends when we end. Everyone may build this one and sell it, and who improves it passes
the improvement on. Hubs, chain and joints are the same as in two other village machines that friends of ours draw, a
cargo trailer and a thresher, so that one box of spare parts serves all three.
""",
    project=PROJECT,
    license="CERN-OHL-S-2.0 AND CC-BY-SA-4.0",
    goal_sats=6_000_000,
    pledges=(
        Backing("Amara", "My father sowed by hand for fifty years.", 500_000),
        Backing("Bo", "Now that is a plan.", 300_000, reward=0),
        Backing("", "", 60_000),
        Backing(
            "Workshop Porto",
            "Come and weld with us.",
            900_000,
            reward=1,
            comment="We have built trailers from drawings like these. Please put the jigs into the repository too.",
        ),
        Backing("Lena", "", 150_000, reward=0),
        Backing("", "", 50_000),
        Backing(
            "Kofi",
            "Please film the repair, too.",
            220_000,
            reward=0,
            comment="Thank you for the table with the bad days in it. That is why I pledged.",
        ),
        Backing("Sunniva", "Back again!", 250_000, reward=0),
        Backing("", "", 110_000),
        Backing("Mirjam", "", 400_000),
        Backing("Seed library Tarn", "For beans, please.", 180_000, reward=0),
        Backing("", "", 30_000),
    ),
    details={
        "deliverables": [
            {
                "title": "Mechanical drawings (FreeCAD, and PDF for printing)",
                "license": "CERN-OHL-S-2.0",
                "url": "https://git.example.org/village-seed-drill/drawings",
                "state": "planned",
            },
            {
                "title": "Seed plates for eight crops (STL and OpenSCAD)",
                "license": "CERN-OHL-S-2.0",
                "url": "https://git.example.org/village-seed-drill/plates",
                "state": "there",
            },
            {"title": "Build and repair videos", "license": "CC-BY-SA-4.0", "url": "", "state": "planned"},
            {"title": "Counts of the field trials", "license": "CC0-1.0", "url": "", "state": "planned"},
        ],
        "budget": [
            {
                "title": "Steel, wheels and plates for six drills",
                "kind": "material",
                "need": "needed",
                "sats": 2_100_000,
            },
            {"title": "Drawing every part", "kind": "task", "need": "needed", "sats": 1_300_000},
            {"title": "Three workshops, two weeks each", "kind": "task", "need": "needed", "sats": 1_100_000},
            {"title": "One growing season of measuring", "kind": "task", "need": "needed", "sats": 900_000},
            {"title": "A jig that the workshops pass on", "kind": "infrastructure", "need": "needed", "sats": 600_000},
            {"title": "A press for steel plates", "kind": "infrastructure", "need": "optional", "sats": 1_500_000},
            {"title": "A second season of measuring", "kind": "task", "need": "optional", "sats": 900_000},
        ],
        "rewards": [
            {
                "title": "A printed seed plate",
                "text": "For beans, maize or millet, with the drawing of how it is made.",
                "minimum_sats": 150_000,
                "stock": 12,
            },
            {
                "title": "A day in the workshop",
                "text": "You build a drill with us, and take the photographs home.",
                "minimum_sats": 900_000,
                "stock": 3,
            },
        ],
        "returns": [
            {
                "title": "A two-day course for village smiths",
                "text": "Filmed, with subtitles in four languages.",
                "license": "CC-BY-SA-4.0",
            }
        ],
        "needs": [
            {"title": "Welders who try the drawings", "kind": "skill", "amount": 3, "unit": "people"},
            {"title": "Subtitles", "kind": "time", "amount": 40, "unit": "hours"},
            {"title": "Fields to measure on", "kind": "tool", "amount": 5, "unit": "fields"},
        ],
        "risks": """**The plate wears out.** In stony soil a printed plate lasts about four hectares. A pressed steel
plate is the fallback; it costs more to make but needs no printer.

**A season is lost.** If the rains fail we measure a year later. The drawings and videos do not depend on it.

**The workshops find too much.** We have kept two weeks to draw again what they cannot build. If that is not enough,
we publish what is there and say what is missing.""",
        "about": """Wanjiru grows maize and beans on three hectares and has walked every metre that the prototypes have
sown. Alice repairs bicycles and draws. With us are Otieno, who welds, and Dr. Lindqvist, who counts seedlings for a
living. We have worked together for four years and have sold nothing yet.""",
    },
    pictures=(
        Picture(
            "drill-field.webp", "A farmer pulls the seed drill on its two bicycle wheels along a furrow at sunrise"
        ),
        Picture(
            "drill-plate.webp",
            "Drawing of the hopper from the side, of seeds falling through it, and of the round "
            "seed plate with its twelve holes",
        ),
        Picture(
            "drill-rows.webp",
            "Two fields from above: sown by hand with gaps and clumps, sown by the drill in even rows",
        ),
    ),
    updates=(
        (
            "Three workshops have said yes",
            """A bicycle repairer, a school workshop and a maker of iron gates will build two drills each. None of them
has seen ours, and we have promised not to answer the telephone.
""",
        ),
        (
            "The plates for eight crops are published",
            """Maize, beans, cowpeas, millet, sorghum, sunflower, okra and onion. They are in the repository as OpenSCAD
with four numbers at the top: holes, hole size, thickness, bore. **Measure ten of your own seeds** and change the second
one.

The onion plate is the least sure of them. If you print it, tell us how many seeds fall at once.
""",
        ),
        (
            "Half way",
            """Half of the sum in eight days; thank you. We were asked what happens if it stays at half. Then every
satoshi goes back to you, and we go on drawing in the evenings, slowly.
""",
        ),
    ),
    questions=(
        Question(
            "Ravi",
            "Can a donkey pull it?",
            "Yes. The drawbar takes a shaft with two bolts, and it was tried for a morning. Walk slowly: above four "
            "kilometres an hour the plate skips holes.",
        ),
        Question(
            "Petra",
            "Our printer cannot do 220 mm. Could the plate come in two halves?",
            "It can be split along the hub and screwed together. We have put a drawing of it into the repository.",
        ),
        Question("Anouk", "Will the wheels of a child’s bicycle do?"),
    ),
    offers=(
        Offer(
            0,
            1,
            "Haruto",
            "haruto@example.org",
            "I weld gates and trailers and have two free weeks in spring.",
            "Haruto gets the first set of drawings. Welcome!",
        ),
        Offer(
            0,
            1,
            "School workshop Lindi",
            "workshop@example.org",
            "Eleven pupils and a teacher; MIG and stick.",
            "We look forward to your questions.",
        ),
        Offer(
            1,
            15,
            "Carmen",
            "@carmen on the fediverse",
            "Spanish subtitles, and Quechua with my mother’s help.",
            "Gracias, Carmen; gracias to your mother too.",
        ),
        Offer(2, 1, "Old Mill Farm", "mill@example.org", "Half a hectare of the stoniest ground you have ever seen."),
    ),
)
"""Half full, and one payment is only seen."""

SEEN_LATER = Backing("Ravi", "For the donkey.", 350_000)
