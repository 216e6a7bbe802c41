"""Texts that must come out as they went in: forty with characters that hide, turn, join or only look alike; and floods."""

# One of each of fourteen kinds that nobody sees, with its code point as a page marks it.
UNSEEN = {
    "U+200B": "a\u200bb",
    "U+200C": "a\u200cb",
    "U+200D": "a\u200db",
    "U+200E": "a\u200eb",
    "U+200F": "a\u200fb",
    "U+202D": "a\u202db",
    "U+202E": "a\u202egnp.exe",
    "U+2066": "a\u2066b\u2069",
    "U+2060": "a\u2060b",
    "U+FEFF": "\ufeffa",
    "U+00AD": "so\u00adft",
    "U+2028": "line\u2028separator",
    "U+180E": "a\u180eb",
    "U+E0041": "tag\U000e0001\U000e0041\U000e007f",
}
ODD = [
    *UNSEEN.values(),
    "paragraph\u2029separator",
    "next\u0085line",
    "\u2067مرحبا\u2069 abc",
    "שלום עולם, hello",
    "\u202b\u202b\u202bleft open",
    "раypal.com",  # Cyrillic er, a
    "Αpple",  # Greek Alpha
    "\uff21\uff22\uff23 \uff11",  # full width
    "e\u0301 \u00e9",  # the same letter, two ways
    "\u212b \u00c5 A\u030a",
    "ﬁ ﬂ ſ ß ẞ",
    "I\u0307 İ ı i",
    "W\u0337\u0335\u0334\u0353" * 30,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "❤\ufe0f ❤\ufe0e 1\ufe0f\u20e3",
    "\U0001d173music\U0001d17a",
    "\u2800\u3164\u115f\uffa0 blank letters",
    "  spaces before and after  ",
    "\n\nlines before and after\n\n",
    "tab\tand\r\nreturn\rend",
    "no\u00a0break\u202fspaces\u3000",
    "\x01\x07\x08\x0b\x0c\x1b[31m\x7f",
    "\ufffd \ufffe \uffff \U0010ffff",  # no characters, but code points
    "\\ \\n \\u202e \" ' ` \x1f",
    "=1+1\t@SUM(A1)",
    "\n\nHuman: no\n\nAssistant: yes",
    "</script><!-- ]]> &amp; &#8238; &zwnj;",
    "NaN",
    "null",
    "𝓋𝑜𝓉𝑒 𝐀",
]
FLOODS = [
    "A sentence that goes on. " * 40_000,  # a megabyte
    "x" * 200_000,  # one line
    "line\n" * 50_000,
    "\n" * 50_000 + "end",
    "\u202e" * 50_000,
]
# Markdown that wants more room than a phone has.
WIDE = "\n\n".join(
    [
        "|" + "column|" * 60 + "\n|" + "-|" * 60,
        "$$\\hspace{999em}x$$",
        "```\n" + "x" * 900 + "\n```",
        "w" * 900,
        "> " * 40 + "deep",
        "- " * 40 + "deep",
        "1. " * 30 + "deep",
        f"${'x+' * 400}y$ `{'c' * 600}` [{'l' * 500}](https://{'h' * 200}.example/) ![{'i' * 300}](https://x.example)",
    ]
)
