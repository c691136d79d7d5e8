"""Automata over bytes: regular expressions equal to Python's, distances to the end, banned strings, and limits."""

from __future__ import annotations

import itertools
import re
import time
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.automata import dfa, regex
from seqgen.automata.alphabet import alphabet_of
from seqgen.automata.automaton import AhoCorasick, Automaton, BannedStringsAutomaton
from seqgen.automata.dfa import RegexAutomaton
from seqgen.automata.regex import MAX_INSTRUCTIONS, compile_pattern
from seqgen.errors import UserError

LETTERS = "ab中\n"


def step(machine: Automaton, state: int, byte: int) -> int:
    """Return the state after a byte; −1 if it is illegal."""
    return int(machine.advance(np.array([state]), np.array([byte], dtype=np.uint8))[0])


def accepts(machine: Automaton, data: bytes) -> bool:
    """Whether a text is accepted. Every prefix on the way must have a completion."""
    state = machine.start
    for byte in data:
        state = step(machine, state, byte)
        if state < 0 or machine.min_remaining(np.array([state]))[0] < 0:
            return False
    return machine.is_accepting(state)


# ---- what is matched ----

single = st.sampled_from(
    [
        "a",
        "b",
        "中",
        ".",
        "[ab]",
        "[^a]",
        "[a-b中]",
        r"\w",
        r"\W",
        r"\s",
        r"[^\s]",
        r"\n",
        r"[\d中-]",
        r"\u4e2d",
        r"\x61",
    ]
)
patterns = st.recursive(
    single,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{,2}", "{1,3}", "{2,}", "*?", "+?", "??", "{0}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(patterns, st.lists(st.text(LETTERS + " 1é", max_size=6), max_size=8))
@example("a|", ["", "a", "b"])
@example("(?P<x>a)b{x}", ["ab{x}"])
@example("^a|b$", ["a", "b", "ab"])
@example("[]a][^]]", ["]a", "ab", "a]"])
@example("[a-]", ["-", "a"])
@example("a{", ["a{"])
@example("a{}b{,}", ["a{}", "a{}bb", "a{}b{,}"])
@example(r"\.\[\^\$\-\/\\", [r".[^$-/\ ".strip()])
@example(r"[\]\-\\\t]+", ["]-\\\t"])
def test_regex_automaton_accepts_what_re_matches(pattern: str, texts: list[str]) -> None:
    try:
        machine = RegexAutomaton(pattern)
    except UserError as error:
        assert "nothing matches" in str(error)
        assert not any(re.fullmatch(pattern, text) for text in texts)
        return
    short = ["".join(some) for size in range(4) for some in itertools.product(LETTERS, repeat=size)]
    for text in [*texts, *short[:: 1 + len(short) // 30]]:
        assert accepts(machine, text.encode()) == bool(re.fullmatch(pattern, text)), text


@settings(max_examples=40)
@given(patterns, st.randoms(use_true_random=False))
def test_regex_automaton_min_remaining_is_reached(pattern: str, chance: object) -> None:
    """Random bytes, then bytes that reduce the distance to the end, of which there is always one."""
    machine = RegexAutomaton(pattern + "a?")
    state, written = machine.start, bytearray()

    def ways() -> list[tuple[int, int, int]]:
        """Bytes that may come, the states after them, and what those need."""
        after = machine.advance(np.full(256, state), np.arange(256, dtype=np.uint8))
        bytes_ = np.flatnonzero(after >= 0)
        min_remaining = machine.min_remaining(after[bytes_])
        return [
            way
            for way in zip(bytes_.tolist(), after[bytes_].tolist(), min_remaining.tolist(), strict=True)
            if way[2] >= 0
        ]

    for _ in range(12):
        found = ways()
        if not found:
            break
        byte, state, _ = chance.choice(found)  # type: ignore[attr-defined]
        written.append(byte)
    need = int(machine.min_remaining(np.array([state]))[0])
    while not machine.is_accepting(state):
        byte, state, left = min(ways(), key=lambda way: way[2] + (way[0] & 0xC0 != 0x80))
        assert left + (byte & 0xC0 != 0x80) <= need, "it took longer than it said"
        need = left
        written.append(byte)
    assert need == 0
    assert re.fullmatch(pattern + "a?", written.decode())


@given(patterns)
@settings(max_examples=40)
def test_regex_automaton_min_remaining_is_the_shortest_match(pattern: str) -> None:
    try:
        machine = RegexAutomaton(pattern)
    except UserError:
        return
    need = int(machine.min_remaining(np.array([machine.start]))[0])
    texts = ("".join(some) for size in range(min(need, 4)) for some in itertools.product("ab中\n 1é", repeat=size))
    assert not any(re.fullmatch(pattern, text) for text in texts)


@pytest.mark.parametrize("letter", "dwsDWS")
def test_class_ranges_equal_those_of_re(letter: str) -> None:
    ranges = regex.class_ranges(letter)
    for code in [*range(0x500), 0x660, 0x2028, 0x3000, 0x4E2D, 0x9FFF, 0xA000, 0x10400, 0x1D7D8, 0x1F600, 0x10FFFF]:
        held = any(low <= code <= high for low, high in ranges)
        assert held == bool(re.fullmatch(f"\\{letter}", chr(code))), hex(code)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 300)), min_size=1, max_size=5), st.data())
def test_alphabet_table_leads_to_the_class_of_the_character(spans: list[tuple[int, int]], data: st.DataObject) -> None:
    sets = [regex.merge_ranges([(low, min(low + more, 0x10FFFF))]) for low, more in spans]
    apart = [spans[0][0]]
    letters = alphabet_of(sets, apart)
    borders = [point + shift for ranges in sets for pair in ranges for point in pair for shift in (-1, 0, 1)]
    for code in [*borders, data.draw(st.integers(0, 0x10FFFF)), 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF]:
        if not 0 <= code <= 0x10FFFF or 0xD800 <= code < 0xE000:
            continue
        inside = [any(low <= code <= high for low, high in ranges) for ranges in sets]
        node, passed = 0, []
        for byte in chr(code).encode():
            passed.append(node)
            node = int(letters.table[node, byte])
            if node == -1:
                break
        if not any(inside):
            assert node == -1
            continue
        symbol = -2 - node
        assert [bool(members >> symbol & 1) for members in letters.members] == inside
        assert all(letters.reach[each] >> symbol & 1 for each in passed)
        assert symbol == letters.class_of[code]
        if code == apart[0]:
            assert (letters.class_of == symbol).sum() == 1


@pytest.mark.parametrize("data", [b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\x80", b"\xff"])
def test_regex_automaton_invalid_utf8_matches_nothing(data: bytes) -> None:
    machine = RegexAutomaton(r"(.|\n)*")
    assert not accepts(machine, data)
    assert accepts(machine, "é中😀\U0010ffff\x00".encode())


# ---- banned strings ----

some_strings = st.lists(st.text("ab", min_size=1, max_size=4).map(str.encode), min_size=1, max_size=4)


@given(some_strings, st.text("ab", max_size=12).map(str.encode))
def test_aho_corasick_finds_every_string(strings: list[bytes], data: bytes) -> None:
    found, state = AhoCorasick(strings, 256), 0
    for place in range(len(data)):
        state = found.run(data[place : place + 1], state)
        ended = any(data[: place + 1].endswith(string) for string in strings)
        assert bool(found.accepting[state]) == ended


@given(some_strings, st.text("abc", max_size=10).map(str.encode), st.text("ab", max_size=4).map(str.encode))
def test_banned_strings_automaton_rejects_banned_strings(banned: list[bytes], data: bytes, before: bytes) -> None:
    machine = BannedStringsAutomaton(banned, before)
    ended = any(
        (before + data)[: len(before) + place + 1].endswith(string) for place in range(len(data)) for string in banned
    )
    assert accepts(machine, data) == (not ended)


def test_banned_strings_automaton_has_no_dead_ends() -> None:
    everything_after = [b"x" + bytes([byte]) for byte in range(256)]
    machine = BannedStringsAutomaton([*everything_after, b"q"])
    assert step(machine, machine.start, ord("x")) == -1
    any_byte = [bytes([byte]) for byte in range(256)]
    longer = [b"yx" + byte for byte in any_byte] + [b"y" + byte for byte in any_byte if byte != b"x"]
    assert step(BannedStringsAutomaton(longer), BannedStringsAutomaton(longer).start, ord("y")) == -1
    with pytest.raises(UserError, match="--ban leaves nothing"):
        BannedStringsAutomaton([bytes([byte]) for byte in range(256)])
    with pytest.raises(UserError, match="--ban leaves nothing"):
        BannedStringsAutomaton(everything_after, b"so far: x")
    BannedStringsAutomaton(everything_after, b"so far: ")


def test_banned_strings_total_length_is_limited() -> None:
    with pytest.raises(UserError, match="16,384 bytes"):
        BannedStringsAutomaton([b"x" * 17_000])
    BannedStringsAutomaton([b"x" * 16_000])


@settings(max_examples=50)
@given(patterns, st.lists(st.text("ab中", min_size=1, max_size=3), min_size=1, max_size=2),
       st.lists(st.text("ab中", max_size=5), max_size=6), st.text("ab中", max_size=2))  # fmt: skip
@example("(ab)*", ["ba"], ["", "ab", "abab"], "")
@example("(a|b)*中", ["中"], ["中"], "")
@example(r"[\d中-]", ["a中"], [], "a")
@example("[b中]+", ["ab中", "a"], ["b中", "中b", "bb中", "b"], "a")
def test_regex_automaton_with_banned_strings(pattern: str, banned: list[str], texts: list[str], before: str) -> None:
    def right(text: str) -> bool:
        whole = before + text
        ends = (whole[: len(before) + place + 1] for place in range(len(text)))
        return bool(re.fullmatch(pattern, text)) and not any(end.endswith(one) for end in ends for one in banned)

    short = ["".join(some) for size in range(4) for some in itertools.product("ab中", repeat=size)]
    try:
        machine = RegexAutomaton(pattern, [one.encode() for one in banned], before.encode())
    except UserError as error:
        assert "nothing matches" in str(error)
        assert not any(right(text) for text in [*texts, *short])
        return
    for text in [*texts, *short[::3]]:
        assert accepts(machine, text.encode()) == right(text), text


# ---- what is refused ----


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "'(' is never closed (character 1)"), ("a(b", "never closed (character 2)"),
        (")", "unmatched"), ("a)", "unmatched ')' (character 2)"), ("[a", "'[' is never closed"),
        ("[", "never closed"), ("[]", "never closed"), ("*", "nothing to repeat"), ("a|+", "nothing to repeat"),
        ("a**", "multiple quantifiers"), ("a{2}{3}", "multiple quantifiers in a row (character 5)"),
        ("{2}a", "nothing to repeat (character 1)"), ("a|{,}", "nothing to repeat (character 3)"),
        ("a*+", "possessive"),
        ("a{3,2}", "the minimum"),
        ("a{99999999}", "too many repetitions"), ("a{1048577}", "too many repetitions"), ("\\", "nothing follows"),
        ("[b-a]", "invalid character range"), (r"[a-\d]", "invalid character range"),
        (r"[\w-z]", "invalid character range"), ("[[:alpha:]]", "not supported"),
        (r"\1", "not supported"), (r"\b", "not supported"), (r"\p{Han}", "not supported"),
        (r"\07", "not supported"),
        ("(?=a)", "only (?:…)"), ("(?i)a", "only (?:…)"), ("(?P=x)", "only (?:…)"), ("a^b", "an anchor"),
        ("a$b", "an anchor"), ("(^a)", "an anchor"), (r"\x6", "2 hexadecimal"), (r"\u12g4", "4 hexadecimal"),
        (r"\U00110000", "no such character"), (r"\ud800", "no such character"), ("a\udcffb", "invalid UTF-8"),
        ("[^\\x00-\\U0010ffff]", "nothing matches"), ("a[^\\w\\W]", "nothing matches"),
        ("(" * 3000 + "a" + ")" * 3000, "deep"), ("a" * (MAX_INSTRUCTIONS + 1), "too large"), ("a{20001}", "too large"),
        ("((a{1000}){1000}){1000}", "too large"), ("(((){1000}){1000}){1000}", "too large"),
        ("(((a?){1000}){1000}){1000}", "too large"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_regex_errors_are_one_line_with_position(pattern: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        RegexAutomaton(pattern)
    assert words in str(error.value)
    assert "--grammar" in str(error.value)
    assert len(str(error.value)) < 200


@given(st.text("ab()[]{}|*+?.^$\\-,123dwx中", max_size=12))
@settings(max_examples=300)
@example("(?P<中>a)")
@example("a|{1}")
@example("{,}")
def test_regex_arbitrary_patterns_compile_or_are_refused(pattern: str) -> None:
    try:
        compile_pattern(pattern)
    except UserError:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of set operations that Python may learn one day
            re.compile(pattern)
    except re.error as error:  # what Python refuses beyond what is refused here: names given twice, and no more
        raise AssertionError(pattern) from error


# ---- hostile ones ----


@pytest.mark.parametrize(
    "pattern",
    ["(a|b)*a(a|b){6000}", "((a*)*)*", "(a?){9000}a{999}", "(a|a)*(a|a)*(a|a)*b", "(.*a.*){20}", r"\w{9000}",
     "(" + "|".join(chr(0x4E00 + number) + chr(0x5000 + number) for number in range(2000)) + ")*"],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_regex_hostile_patterns_are_refused_quickly(pattern: str) -> None:
    began = time.process_time()
    machine = RegexAutomaton(pattern)
    state = machine.start
    for byte in b"ab" * 10:
        following = step(machine, state, byte)
        state = following if following >= 0 else state
    assert time.process_time() - began < 5


def strings_of_three(first: int, second: int) -> list[bytes]:
    """Banned strings that begin with each pair of so many characters."""
    return [bytes([1 + one, 1 + two, ord("~")]) for one in range(first) for two in range(second)]


@pytest.mark.parametrize(
    ("pattern", "banned"),
    [
        (r"[\x00-\x7f]{46}", strings_of_three(127, 43)),
        ("".join(f"[一-{chr(0x5600 + number)}]" for number in range(700)),
         ["".join(map(chr, range(0x4E00, 0x4E00 + 1800))).encode()]),
        ("".join(rf"[\w{chr(0xF0000 + number)}]" for number in range(15_000)), []),
        (r"[\w]" * 15_000, []),
        ("[" + r"\w" * 60_000 + "]", []),
        ("".join(f"[^{chr(0x4E00 + number)}]" for number in range(15_000)), []),
    ],
    ids=["steps", "characters", "ranges", "ranges again", "ranges of a class", "classes"],
)  # fmt: skip
def test_regex_products_of_characters_and_classes_are_refused_quickly(pattern: str, banned: list[bytes]) -> None:
    began = time.process_time()
    with pytest.raises(UserError, match=r"--grammar .*too large"):
        RegexAutomaton(pattern, banned)
    assert time.process_time() - began < 5


def test_regex_large_patterns_of_use_are_no_products() -> None:
    """Hundreds of classes with thousands of characters, and a hundred banned words in a long text."""
    RegexAutomaton("".join(rf"[\w{chr(0xF0000 + number)}]" for number in range(300)) + r"[\w ]" * 300)
    words = [bytes([97 + number % 26, 97 + number // 26, *b"ing"]) for number in range(100)]
    machine = RegexAutomaton(r"(\w+ ){50}.{300}", words)
    assert machine.min_remaining(np.array([machine.start])) == [400]


def test_regex_automaton_retain_drops_states_that_are_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An automaton of 2^12 states with a tiny cache equals one that keeps all states."""
    pattern = "(a|b)*a(a|b){11}"
    whole = RegexAutomaton(pattern)
    monkeypatch.setattr(dfa, "_MAX_CACHED", 300)
    small = RegexAutomaton(pattern)
    chance = np.random.default_rng(3)
    states, forgotten = [whole.start, small.start], 0
    for _ in range(300):
        byte = int(chance.choice([*b"ab"]))
        if small.full:
            states[1:] = small.retain(states[1:])
            forgotten += 1
        states = [step(machine, state, byte) for machine, state in zip((whole, small), states, strict=True)]
        assert whole.is_accepting(states[0]) == small.is_accepting(states[1])
        assert whole.min_remaining(np.array(states[:1])) == small.min_remaining(np.array(states[1:]))
        assert len(small._subsets) < 100
    assert forgotten > 5
    assert len(whole._subsets) > 100


def test_regex_automaton_retain_keeps_states_within_a_character() -> None:
    machine = RegexAutomaton("中+a")
    begun = step(machine, step(machine, machine.start, 0xE4), 0xB8)
    (again,) = machine.retain([begun])
    after: Sequence[int] = [step(machine, again, 0xAD)]
    assert machine.min_remaining(np.array(after)) == [1]
    assert step(machine, after[0], ord("a")) >= 0
