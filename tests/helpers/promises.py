"""Promises of the documentation: the sentences that sound like one, and the tables that say what holds each.

A sentence sounds like a promise if it has one of `SIGNS`. It is held by a row of the tables of promises in
`seqgen/docs/safety.md`, whose first cell quotes some of its words between “ and ”; or `UNPROMISED` says why it is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from seqgen.cli.reference import make_reference

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "seqgen" / "docs"
SAFETY = DOCS / "safety.md"
DETERMINISM = DOCS / "determinism.md"
TABLES = "## Promises\n"  # what stands above it in safety.md is read as any page
APART = ("internals", "determinism")
MIN_QUOTE = 6  # letters: a shorter quote would hold sentences that it doesn't mean

SIGNS = re.compile(
    r"""
    \bnever\b | \bnothing\b | \bnone\ is\b | \balways\b | \brefused\b | \breported\b | \bcounted\b
    | \bexact(?:ly)?\b | byte\ for\ byte | identical | same\ bits | same\ alone | \bany\ bytes | every\ (?:other\ )?byte
    | the\ same\ (?:bytes|text|weights|piece|ids|model|result|output)\b
    | n't\ depend | \bdepends?\ (?:on\ )?(?:neither|nothing)
    | \bno\ (?:code|network|path|text|partial|answer|package)\b | (?:without|no)\ PyTorch | \bruns\ code
    | \bone\ line\b | \bstatus\ \d | \b(?:constant|bounded|little|larger\ than)\ memory | whole\ time
    | \bkill | power\ cut | Ctrl-C | \bat\ once\b | (?:less\ than|within)\ (?:a|\d+)\ (?:second|minute)
    | allows\ only | \bforbids\b | \bfalls\ back\b | returns\ to\b | \bdo\ the\ same\b | \bwhatever\b | \bskipped\b
    | \b(?:read|fetched)\ once\b | \bcomplete\b | \bmust\ match\b | \bbeyond\ \d | \bin\ order\b
    | \bkeeps?\ (?:its|their)\b | don't\ count | \bany\ number\b | at\ most\ n\b | without\ a\ network
    | \bonly\ (?:the|programs|if|with)\b | untrusted | forges | later\ version | \bstay\b
    | 不会 | 不可能 | 从不 | 绝不 | 也不会 | 逐字节 | 精确(?!率) | 完全相同 | 也一样 | 字节就相同 | 原样 | 不变
    | 仍能 | 只有一行 | 不需要加载 | 不例外 | 都会报告 | 对应一行 | 不再读
    """,
    re.VERBOSE | re.IGNORECASE,
)

# Words of sentences that have a sign and promise nothing of the program, by the reason.
UNPROMISED: dict[str, tuple[str, ...]] = {
    "about what is learnt, in general": (
        "with the same weights at every time step",
        "the model has never seen the beginning",
        "always reads the true",
        "states that training never showed",
        "nothing beats the last value",
        "always the more frequent label",
        "differences of a few points mean nothing",
        "notes that never end",
        "replies that always fit",
        "multiplies only the input",
        "over any number of steps",
        "which units keep their state",
        "shuffled rows in the test set do the same",
        "learnt by heart within a minute",
        "always says",
        "it never stops",
        "real tunes never do",
        "nothing was found beyond",
        "网络学不会去记",
        "梯度原样通过",
        "打乱后再划分测试集也一样",
        "误差不会累积",
        "nothing needs segmentation",
        "t → 0 always takes",
        "完全相同的小节",
        "与前面某小节完全相同",
    ),
    "about the past, or how a figure was measured": (
        "chooses nothing",
        "chose nothing",
        "nothing chosen on",
        "line ends counted",
        "every event counted",
        "aren't counted per event",
        "gave 1,000,003 lines",
        "archives, encodings, and kinds that are no text",
    ),
    "a description of what a word, a flag or a file is": (
        "for several columns at once",
        "an empty line between conversations",
        "what untrusted files can't do",
        "what they never do",
        "byte for byte the same",
        "a step always computes",
        "states stay float32",
        "0 for never",
        "scale to stay in",
        "exact;",
        "two ways of the same thing",
        "it was killed",
        "no network",
        "never].",
        "never).",
        "and never run it",
        "only the server's user",
        "nothing forbids a name",
        "comparable between models of the same text",
        "for corpora larger than memory and several",
    ),
}


@dataclass(frozen=True)
class Promise:
    """A row: its words, what it quotes, and the tests and benchmarks that hold it."""

    text: str
    quotes: tuple[str, ...]
    holders: tuple[str, ...]


def plain(text: str) -> str:
    """Text as it is compared: without Markdown, in lower case, with single spaces."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("\\|", "|")
    return " ".join(re.sub(r"[*`]", "", text).lower().split())


def pages() -> dict[str, str]:
    """The Markdown of README, the pages and the help, by name.

    Two are left out: `internals.md` describes modules to those who change them, and the tests of the architecture hold
    it; each cell of the table in `determinism.md` names its own test.
    """
    paths = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    found = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths if path.stem not in APART}
    found[SAFETY.relative_to(ROOT).as_posix()] = SAFETY.read_text("utf-8").partition(TABLES)[0]
    return {**found, "the help": make_reference()}


def sentences(markdown: str) -> Iterator[str]:
    """The sentences of a page, without its examples. Cells below "never" are read with it."""
    paragraph: list[str] = []
    header: list[str] = []
    fence = ""
    markdown = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    for line in [*markdown.splitlines(), ""]:
        mark = re.match(r"`{3,}", line)
        if fence or mark:
            fence = "" if fence and mark and mark[0] == fence else fence or (mark[0] if mark else "")
            line = ""
        is_row = line.startswith("|")
        if is_row or not line.strip() or line.startswith(("#", "    ")) or re.match(r"(?:[-*]|\d+\.) ", line):
            yield from _split(" ".join(paragraph))
            paragraph = []
        if is_row:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if re.fullmatch(r"[\s|:-]*", line):
                continue
            if not header:
                header = cells
                continue
            for name, cell in zip(header, cells, strict=False):
                yield from (f"never {part}" if name == "never" else part for part in _split(cell))
        else:
            header = []
            if line.strip() and not line.startswith(("#", "    ")):
                paragraph.append(line.strip())


def _split(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?:;])\s+|(?<=[。；！？])", text) if part.strip()]


def promising(page: str) -> list[str]:
    """The sentences of a page that sound like promises."""
    return [sentence for sentence in sentences(page) if SIGNS.search(plain(re.sub(r"`[^`]*`", "", sentence)))]


def promises() -> list[Promise]:
    """The rows of the tables of promises."""
    found = []
    for line in SAFETY.read_text("utf-8").partition(TABLES)[2].splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        if line.startswith("|") and len(cells) == 2 and "---" not in line and cells[0].strip() != "promise":
            quotes = tuple(map(plain, re.findall(r"“([^”]+)”", cells[0])))
            found.append(Promise(cells[0].strip(), quotes, tuple(holders(cells[1]))))
    return found


def holders(text: str) -> list[str]:
    """Tests and benchmarks named in a text: `tests/x.py::test_y`, `tests/benchmarks/z.py`."""
    return re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", text)


def is_there(holder: str) -> bool:
    """Whether a test, or a benchmark, exists."""
    path, _, name = holder.partition("::")
    if not (ROOT / path).is_file():
        return False
    if not name:
        return path.startswith("tests/benchmarks/")
    return re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE) is not None


def not_held(texts: Mapping[str, str], rows: list[Promise]) -> list[str]:
    """The sentences that sound like promises and have neither a row nor a reason, with their page."""
    known = [quote for row in rows for quote in row.quotes]
    known += [plain(words) for group in UNPROMISED.values() for words in group]
    return [
        f"{name}: {sentence}"
        for name, page in texts.items()
        for sentence in promising(page)
        if not any(words in plain(sentence) for words in known)
    ]
