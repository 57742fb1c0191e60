"""What people write into stories, titles and summaries to have it run, hide, mislead or never end: 500 and more texts.

Made by families, each from its spellings; the same list each time. `RUN` is what a text would like to have run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

RUN = "window.__ran=1,alert(1)"
ELSEWHERE = "http://elsewhere.invalid"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
LONG = 50_000

SCHEMES = (
    "javascript:", "JaVaScRiPt:", "vbscript:", "data:text/html,", "data:text/html;base64,", "file:///", "blob:",
    "livescript:", "about:", "view-source:", "mailto:", "tel:", "intent:", "filesystem:", "jar:", "feed:",
)  # fmt: skip
SPELLINGS = (
    "{}", " {}", "\t{}", "\n{}", "\x00{}", "\x01{}", "\u00a0{}", "\ufeff{}", "<{}>", "&#0;{}", "&Tab;{}",
    "&NewLine;{}",
)  # fmt: skip
COLONS = (":", "&colon;", "&#58;", "&#x3A;", "&#x003a;", "%3A", "\uff1a", "&#00058", "\\:", ":\u200b", "&#9;:")
WAYS = ("[x]({})", "[x](<{}>)", "<{}>", "[x][r]\n\n[r]: {}", "[x](/ok '{}')", "![x]({})", "[{}](https://ok.example)")
ELEMENTS = (
    "<script>{}</script>", "<ScRiPt >{}</sCrIpT>", "<script\n>{}</script\n>", "<<script>{}//<</script>",
    "<script/src={e}/x.js></script>", "<scr<script>ipt>{}</scr</script>ipt>", "<img src=x onerror={}>",
    "<img/src=x/onerror={}>", "<img src='x' onerror='{}'", "<svg onload={}>", "<svg/onload={}//",
    "<svg><script>{}</script></svg>", "<svg><animate onbegin={} attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:{}'><text>x</text></a></svg>", "<svg><use href='data:image/svg+xml,<svg/>#x'>",
    "<math><mi xlink:href='javascript:{}'>x</mi></math>", "<math href='javascript:{}'>x</math>",
    "<iframe src='javascript:{}'></iframe>", "<iframe srcdoc='<script>{}</script>'></iframe>",
    "<object data='javascript:{}'>", "<embed src='javascript:{}'>", "<body onload={}>",
    "<input autofocus onfocus={}>", "<details open ontoggle={}>x</details>", "<video><source onerror={}></video>",
    "<audio src=x onerror={}>", "<marquee onstart={}>x</marquee>", "<a href='javascript:{}'>x</a>",
    "<a onclick={}>x</a>", "<form action='javascript:{}'><button>x</button></form>",
    "<button formaction='javascript:{}'>x</button>", "<isindex action='javascript:{}'>", "<base href='{e}'>",
    "<link rel=stylesheet href='{e}/x.css'>", "<link rel=import href='{e}'>",
    "<meta http-equiv=refresh content='0;url=javascript:{}'>", "<meta http-equiv=Set-Cookie content='session=x'>",
    "<style>*{{background:url({e})}}</style>", "<style>@import '{e}/x.css';</style>",
    "<div style='background:url({e})'>x</div>", "<p style='position:fixed;inset:0'>x</p>", "<x onmouseover={}>x</x>",
    "<x contenteditable onblur={}>x</x>", "<table background='{e}'><td background='javascript:{}'>",
    "<xss:script>{}</xss:script>", "<!--<script>{}</script>-->", "<!--[if gte IE 4]><script>{}</script><![endif]-->",
    "<![CDATA[<script>{}</script>]]>", "<?xml-stylesheet href='{e}'?>", "<!DOCTYPE x [<!ENTITY y '{}'>]>",
    "</title><script>{}</script>", "</textarea><script>{}</script>", "</style><script>{}</script>",
    "</div></section></main><script>{}</script>", "\"><script>{}</script>", "'><img src=x onerror={}>",
    "` onmouseover={} `", "--><script>{}</script>", "]]><script>{}</script>", "<plaintext>",
    "<noscript><p title='</noscript><img src=x onerror={}>'>", "<template><script>{}</script></template>",
    "<portal src='javascript:{}'>", "<dialog open>x</dialog>", "<slot onslotchange={}>", "<frameset onload={}>",
    "<h1 id=main>x</h1>", "<a id=main name=main>x</a>", "<form id=announce><input name=textContent></form>",
    "<img name=body>", "<a id=__proto__>x</a>",
)  # fmt: skip
MUTATIONS = (
    "<math><mtext><table><mglyph><style><img src=x onerror={}>",
    "<svg></p><style><a id='</style><img src=1 onerror={}>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror={}>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={}&gt;'>",
    "<svg><style><img src=x onerror={}></style></svg>", "<svg><desc><style></desc><img src=x onerror={}></style>",
    "<svg><title><style></title><img src=x onerror={}></style>",
    "<svg><foreignObject><p><style></p><img src onerror={}>",
    "<noscript><style></noscript><img src=x onerror={}></style>", "<xmp><p title='</xmp><img src=x onerror={}>'>",
    "<select><style></select><img src=x onerror={}></style>", "<table><td><svg><desc></table><img src=x onerror={}>",
    "<a><table><a><img src=x onerror={}>", "<b><p></b><svg><p><img src=x onerror={}>",
    "<svg><![CDATA[><img src=x onerror={}>]]>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror={}></annotation-xml></math>",
    "<listing>&lt;img src=x onerror={}&gt;</listing>", "<textarea><img src=x onerror={}>",
    "<iframe><img src=x onerror={}>", "<noembed><img src=x onerror={}></noembed>",
    "<svg><a><animate attributeName=href values=javascript:{} /><text>x</text></a>",
)  # fmt: skip
NESTINGS = (
    "**{}**", "*{}*", "~~{}~~", "> {}", "- {}", "1. {}", "# {}", "| a |\n|---|\n| {} |", "`{}`", "```\n{}\n```",
    "    {}", "[{}](https://ok.example)", "[x](https://ok.example \"{}\")", "![{}](https://ok.example)",
    "[a]: https://ok.example '{}'\n\n[a]", "**[{}](javascript:1)", "[x](https://ok.example/{})",
    "~~**_[{}](<https://ok.example>)_**~~", "```{}\nx\n```", "{}\n===",
)  # fmt: skip
INNER = ("<img src=x onerror={r}>", "</code></pre><script>{r}</script>", '" onmouseover="{r}', "](javascript:{r})")
LINKS = (
    "[https://bank.example](https://evil.example)", "[bank.example](https://evil.example/bank.example)",
    "<https://b\u0430nk.example>", "[b\u0430nk.example](https://xn--bnk-5cd.example)",
    "<https://bank.example@evil.example/>", "[x](https://bank.example:443@evil.example)", "[x](//evil.example)",
    "[x](/\\evil.example)", "[x](https:/evil.example)", "[x](https:\\\\evil.example)",
    "[x](https://evil.example\\@bank.example)", "[x](https://[::1)", "[x](https://)", "[x](https://\u3002evil)",
    "[x](https:evil)", "[x](http://evil.example/%0d%0aSet-Cookie:x)", "[x](/logout)", "[x](#main)",
    "[x](?next=//evil.example)", "[x](/p/x)", "[\u202ebank.example](https://evil.example)",
    "[x](https://evil.example/\u202egpj.exe)", "[bank.\u200bexample](https://evil.example)",
    "[`https://bank.example`](https://evil.example)", "[**https**://bank.example](https://evil.example)",
    "[HTTPS://BANK.EXAMPLE](https://evil.example)", "[https:\\\\bank.example](https://evil.example)",
    "[www.bank.example/login](https://evil.example)", "https://evil.example/<script>", "<ftp://evil.example>",
    "<x@evil.example>", "<HTTPS://evil.example>", "[x](ws://evil.example)",
)  # fmt: skip
HEADINGS = (
    "# main", "## story", "### announce {#main}", "# x {: #main onclick=alert(1)}", "main\n====", "# <a id=main>",
    "###### deep", "# [x](#backers)", "[main]: #main\n# [main]", "<h1>x</h1>",
)  # fmt: skip
TEMPLATES = (
    "{{7*7}}", "{{ config }}", "{{ site.settings.secret_key }}", "{% raw %}{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>",
    "{{ ''.__class__.__mro__ }}", "{# x #}", "{{url_for.__globals__}}", "%(title)s {0.__class__} %s", "[[7*7]]",
)  # fmt: skip
UNSEEN = (

    *"\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\u061c\u2028\u2029\u0085\x00\x07\x08\x1b\x7f\x9b\ufffe\ufff9",
    *ZERO_WIDTH, "&#x202e;", "&#8238;", "&#x2066;", "&#0;", "&#x1b;", "&#x85;", "&#xD800;", "&#x110000;", "&zwj;",
    "&rlm;", "e" + "\u0301" * 300, "\U000e0001\U000e0041", "\u3164", "\u115f",
)  # fmt: skip
UNCLOSED = (
    "**x", "[x](", "[x](https://a", "![", "`x", "```\n<script>", "<a href=\"", "<!--", "<![CDATA[", "<?", "<script",
    "&#x", "&lt", "[x]: <", "~~x", "|a|\n|-", "> ```\n<b>", "<img src='", "[x](https://a.example 'x", "\\",
)  # fmt: skip
ENDLESS = {
    "*": "*", "_": "_", "[": "[", "](": "](", "![": "![", "`": "`", "<": "<", "&": "&", ">": ">", "a list": "* a ",
    "strong": "a**b", "open links": "[a](", "closed links": "[](x)", "brackets": "[[]]", "comments": "<!--",
    "tags": "<a ", "quotes": "> a\n", "rules": "-\n", "headings": "# a\n", "items": "- a\n",
    "definitions": "[a]: b\n", "strikes": "~~a", "links": "<https://a.b>", "angles": "<https://a ", "pipes": "|a",
    "tabs": "\t", "entities": "&amp;", "turns": "&#x202e;", "mixed": "*a **a ", "setext": "a\n---\n",
    "backslashes": "\\",
}  # fmt: skip


def stories() -> dict[str, str]:
    """Name -> a story. Each fits into the limit of stories."""
    found: dict[str, str] = {}
    for family, texts in (
        ("scheme", _schemes()),
        ("colon", _colons()),
        ("element", (text.format(RUN, e=ELSEWHERE) for text in ELEMENTS)),
        ("mutation", (text.format(RUN) for text in MUTATIONS)),
        ("entity", (_entities(text.format(RUN, e=ELSEWHERE)) for text in ELEMENTS[::3])),
        ("nesting", (outer.replace("{}", inner.format(r=RUN)) for outer, inner in product(NESTINGS, INNER))),
        ("link", iter(LINKS)),
        ("picture", (f"![x]({ELSEWHERE}/{n}.png{more})" for n, more in enumerate(("", " 'x'", "#x", "\n", "?a=b")))),
        ("heading", iter(HEADINGS)),
        ("template", iter(TEMPLATES)),
        ("unseen", (f"be{sign}fore [j{sign}avascript](java{sign}script:{RUN}) {sign}" for sign in UNSEEN)),
        ("unclosed", iter(UNCLOSED)),
    ):
        found |= {f"{family} {number}": text for number, text in enumerate(texts)}
    return found


def endless() -> dict[str, str]:
    """Name -> a story as long as fits, made to take long or to come out huge."""
    found = {name: (part * LONG)[:LONG] for name, part in ENDLESS.items()}
    found["deep quotes"] = "\n".join(">" * depth + " a" for depth in range(1, 300))
    found["deep lists"] = "".join("  " * depth + "- a\n" for depth in range(200))
    found["ticks of all lengths"] = "".join("e" + "`" * length for length in range(1, 300))
    found["a wide table"] = "|a" * 7_000 + "|\n" + "|-" * 7_000 + "|\n" + "a\n" * 10_900
    found["one long address, often"] = "[a]: https://x.example/" + "y" * 1_900 + "\n\n" + "[a]" * 15_000
    found["one longer address, often"] = "[a]: https://x.example/" + "y" * 20_000 + "\n\n" + "[a]" * 9_000
    assert all(len(text) <= LONG for text in found.values())
    return found


def _schemes() -> Iterator[str]:
    for number, (scheme, way) in enumerate(product(SCHEMES, WAYS)):
        yield way.format(f"{scheme}{RUN}")
        if number % 2:
            yield way.format(SPELLINGS[number % len(SPELLINGS)].format(f"{scheme}{RUN}"))


def _colons() -> Iterator[str]:
    for colon, word in product(
        COLONS, ("javascript", "java\nscript", "&#106;avascript", "java&#x0A;script", "j&#97vascript")
    ):
        yield f"[x]({word}{colon}{RUN})"


def _entities(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&#62;").replace("=", "&#x3D;")
