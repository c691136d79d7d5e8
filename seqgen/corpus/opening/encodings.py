"""The encoding of text that does not say which one it has.

Every candidate decodes a sample, and is measured by the letters that languages use most: a wrong decoding gives rare
ideographs, symbols within words or capitals after small letters. What two candidates read alike is no doubt between
them; where they differ and both are plausible, nothing is decided.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from seqgen.corpus.opening import letters
from seqgen.corpus.opening.letters import Language

_MAX_LETTERS = 600  # that are looked at
_RUNS = 6  # of neighbouring letters, spread over a text
_MIN_LETTERS = 3  # fewer prove nothing
_MIN_SCORE = 0.85  # of a single-byte encoding
_MIN_MARGIN = 0.06  # by which it must be ahead of any other that reads the sample differently
_MIN_FREQUENT = 0.25  # of the characters of a multi-byte encoding that are frequent ones
_MIN_RATIO = 2.5  # by which it must be ahead of another
_MAX_DAMAGE = 0.01  # of the characters of a damaged file
_MIN_LEAD = 0.4  # or by which it must be better, on average, at the bytes that they read differently
_MIN_DENSITY = 0.025  # of letters beyond ASCII, for each ASCII letter, in languages with many of them
_MIN_TYPICAL = 0.2  # of the letters of a language that has typical ones
_SPARSE_SCORE = 0.8  # of such a language where there are fewer
_MIXED_SCORE = 0.9  # of names from several languages

_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_MULTIBYTE: tuple[tuple[str, tuple[frozenset[str], ...]], ...] = (
    ("gb18030", letters.CHINESE), ("cp950", letters.CHINESE), ("big5hkscs", letters.CHINESE),
    ("cp932", letters.JAPANESE), ("euc_jp", letters.JAPANESE), ("cp949", letters.KOREAN),
    ("utf-16-le", letters.CHINESE), ("utf-16-be", letters.CHINESE),
)  # fmt: skip
# In order of preference among those that read a sample alike.
_SINGLE_BYTE: tuple[tuple[str, tuple[Language, ...]], ...] = (
    ("cp1252", letters.WESTERN), ("cp1250", letters.CENTRAL), ("cp1251", letters.CYRILLIC),
    ("iso8859_15", letters.WESTERN), ("iso8859_2", letters.CENTRAL), ("mac_roman", letters.WESTERN),
    ("cp850", letters.WESTERN), ("cp852", letters.CENTRAL), ("koi8_r", letters.CYRILLIC),
    ("koi8_u", letters.CYRILLIC), ("cp866", letters.CYRILLIC), ("mac_cyrillic", letters.CYRILLIC),
    ("iso8859_5", letters.CYRILLIC), ("cp1253", letters.GREEK), ("iso8859_7", letters.GREEK),
    ("cp1254", letters.TURKISH), ("cp1257", letters.BALTIC), ("cp1255", letters.HEBREW), ("cp1256", letters.ARABIC),
    ("cp874", letters.THAI),
)  # fmt: skip

_MIN_MIXED = 4  # bytes beyond ASCII in a line that is UTF-8, not by accident
_MIN_MIXED_SHARE = 0.1  # of such lines in a text with two encodings
_ASCII = bytes(range(128))
_TRIED = frozenset(codecs.lookup(codec).name for codec, _ in (*_MULTIBYTE, *_SINGLE_BYTE))
_SURROGATES = re.compile("[\udc80-\udcff]")
_BESIDE_ASCII = re.compile("[A-Za-z][^\0-\x7f]|[^\0-\x7f](?=[A-Za-z])")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROLS = 0.02  # of the bytes of text: form feeds, escapes and a few NULs occur in logs
_SENTENCE_MARKS = frozenset("’‘“”„‚«»‹›–—…·•°§©®™¿¡\xa0\xad²³ªº†‡‰№´`")
_SYMBOLS = frozenset("€£¥×±½¼¾¹÷µ¶¬¦¢¤")  # that stand beside no letter
_FINAL_LETTERS = frozenset("ςךםןףץ")
_WITHIN_WORDS = frozenset("’–—…·\xad")


class EncodingGuess(NamedTuple):
    """The codec of a sample, or "" if none is plausible or several are: then these are the `alternatives`."""

    codec: str
    alternatives: tuple[str, ...] = ()


def mark_of(head: bytes) -> str:
    """Return the codec that a byte order mark names; "" without one."""
    for mark, codec in _MARKS:
        if head.startswith(mark) and (codec == "utf-8" or _reads_wide(head[len(mark) :], codec)):
            return codec
    return ""


def wide_without_mark(head: bytes) -> str:
    """Return the codec of UTF-16 or UTF-32 without a mark, which the NUL bytes of its ASCII give away; else ""."""
    if b"\0" not in head or len(head) < 4:
        return ""
    found = {codec: _familiarity(head, codec) for codec in _WIDE if _reads_wide(head, codec)}
    best = max(found, key=lambda codec: found[codec], default="")
    return best if best and found[best] >= 0.5 else ""


def _reads_wide(data: bytes, codec: str) -> bool:
    """Whether bytes are text in UTF-16 or UTF-32: assigned characters, and hardly any controls."""
    text = _decode_start(data, codec)
    if text is None:
        return False
    sample = text[:4000]
    odd = sum(
        unicodedata.category(letter) in ("Cn", "Co", "Cs", "Cc") and letter not in "\t\n\v\f\r\x1b" for letter in sample
    )
    return odd <= 0.01 * len(sample)


def _decode_start(data: bytes, codec: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(data)
    except UnicodeDecodeError:
        return None


def _familiarity(data: bytes, codec: str) -> float:
    """The share of characters that are ASCII, letters of an alphabet, frequent ideographs or syllables."""
    text = (_decode_start(data, codec) or "")[:4000]
    known = sum(
        " " <= letter <= "~" or letter in "\t\n\r" or "\xa0" <= letter < "\u1100" or "\u2000" <= letter < "\u2070"
        or any(letter in frequent for frequent in (*letters.CHINESE, *letters.JAPANESE, *letters.KOREAN))
        for letter in text
    )  # fmt: skip
    return known / max(len(text), 1)


def is_binary(head: bytes) -> bool:
    """Whether the first bytes have more control characters than text has."""
    return len(_CONTROLS.findall(head)) > _MAX_CONTROLS * len(head)


def is_utf8(sample: bytes, is_cut: bool = False) -> bool:
    """Whether a sample is UTF-8; one that `is_cut` may begin and end within a character."""
    if is_cut:
        sample = sample[next((place for place in range(min(4, len(sample))) if not 0x80 <= sample[place] < 0xC0), 0) :]
    try:
        codecs.utf_8_decode(sample, "strict", not is_cut)
    except UnicodeDecodeError:
        return False
    return True


def reads_japanese(sample: bytes) -> bool:
    """Whether ASCII bytes with escapes are text in ISO-2022-JP."""
    text = sample.decode("iso2022_jp", "replace")
    return "\ufffd" not in text and sum(letter > "\x7f" for letter in text) >= _MIN_LETTERS


def count_invalid(data: bytes) -> tuple[int, int]:
    """Return how many bytes are not UTF-8, and how many characters beyond ASCII are."""
    text = data.decode("utf-8", "surrogateescape")
    invalid = len(_SURROGATES.findall(text))
    return invalid, sum(map(len, re.findall("[^\0-\x7f\udc80-\udcff]+", text)))


def guess(samples: Iterable[bytes]) -> EncodingGuess:
    """Guess the encoding of samples from a text that is not UTF-8, each of whole lines as far as possible."""
    parts = [part for part in samples if not part.isascii()]
    joined = b"\n".join(parts)
    invalid, valid = count_invalid(joined)
    if valid > 3 * invalid or is_mixed(joined):
        return EncodingGuess("utf-8")
    multibyte = _guess_multibyte(joined)
    if 2 * valid > invalid:  # as it is by chance in short texts only
        return multibyte if multibyte.codec and _is_valid(joined, multibyte.codec) else EncodingGuess("utf-8")
    if multibyte.codec or multibyte.alternatives:
        return multibyte
    single = _guess_single_byte(joined)
    if single.codec or single.alternatives or invalid < 4 * _MIN_LETTERS:
        return single
    return _guess_otherwise(joined)


def is_mixed(data: bytes) -> bool:
    """Whether many lines with characters beyond ASCII are UTF-8 in a text that is not: it has two encodings."""
    lines = [line for line in data.splitlines() if not line.isascii()]
    valid = [line for line in lines if is_utf8(line) and len(line.translate(None, _ASCII)) >= _MIN_MIXED]
    return len(valid) >= _MIN_LETTERS and len(valid) >= _MIN_MIXED_SHARE * len(lines)


def _guess_multibyte(data: bytes) -> EncodingGuess:
    found: dict[str, tuple[float, str]] = {}
    for codec, languages in _MULTIBYTE:
        if codec in _WIDE and (len(data) % 2 or b"\0" in data):
            continue
        text = data.decode(codec, "replace")
        beyond = [letter for letter in text if letter > "\x7f"]
        damaged = beyond.count("\ufffd")
        if len(beyond) - damaged < _MIN_LETTERS or damaged > max(_MAX_DAMAGE * len(beyond), 1):
            continue
        if len(_BESIDE_ASCII.findall(text)) > 0.5 * len(beyond):
            continue  # letters with accents and their neighbours
        common = max(sum(letter in frequent for letter in beyond) for frequent in languages)
        share = common / len(beyond)
        if common >= _MIN_LETTERS and share >= _MIN_FREQUENT and (codec not in found or share > found[codec][0]):
            found[codec] = share, text
    ranking = sorted(found, key=lambda codec: -found[codec][0])
    if not ranking:
        return EncodingGuess("")
    best = ranking[0]
    alternatives = [
        codec for codec in ranking[1:]
        if found[codec][1] != found[best][1] and found[codec][0] * _MIN_RATIO > found[best][0]
        and {codec, best} != {"cp950", "big5hkscs"}
    ]  # fmt: skip
    return EncodingGuess("", (best, *alternatives)) if alternatives else EncodingGuess(best)


class _Decoding(NamedTuple):
    """How a codec reads bytes beyond ASCII: as which letters, which of them stand well, how many are of a language, and
    a score of at most 1."""

    text: str
    good: list[bool]
    inside: int
    score: float


def _is_valid(data: bytes, codec: str) -> bool:
    return "\ufffd" not in data.decode(codec, "replace")


def _guess_single_byte(data: bytes) -> EncodingGuess:
    places = [match.start() for match in re.finditer(rb"[\x80-\xff]", data)]
    if len(places) < _MIN_LETTERS:
        return EncodingGuess("")
    count = len(places)
    if count > _MAX_LETTERS:  # runs of them, because every so many might be the same word again and again
        starts = range(0, count, -(-count // _RUNS))
        places = [place for start in starts for place in places[start : start + _MAX_LETTERS // _RUNS]]
    around = [
        (data[max(place - 1, 0) : place], data[place : place + 1], data[place + 1 : place + 2]) for place in places
    ]
    scale = count / len(places) / max(len(re.findall(rb"[A-Za-z]", data)), 1)
    found: dict[str, _Decoding] = {}
    for codec, languages in _SINGLE_BYTE:
        context = [tuple(part.decode(codec, "replace") for part in parts) for parts in around]
        readings = [_read(context, language) for language in languages]
        if languages in (letters.CENTRAL, letters.TURKISH, letters.BALTIC):
            readings = [
                reading._replace(score=reading.score * (1 if reading.inside * scale > _MIN_DENSITY else _SPARSE_SCORE))
                for reading in readings
            ]
        if languages is letters.WESTERN:
            mixed = _read(context, letters.WESTERN_MIXED)
            readings.append(mixed._replace(score=_MIXED_SCORE * mixed.score))
        found[codec] = max(readings, key=lambda reading: reading.score)
    best = max(found, key=lambda codec: found[codec].score)
    if found[best].score < _MIN_SCORE:
        return EncodingGuess("")
    alternatives = [
        codec for codec, reading in found.items()
        if reading.score > max(found[best].score - _MIN_MARGIN, _MIN_SCORE) and not _is_worse(reading, found[best])
    ]  # fmt: skip
    return EncodingGuess("", (best, *alternatives)) if alternatives else EncodingGuess(best)


def _is_worse(reading: _Decoding, best: _Decoding) -> bool:
    """Whether a reading is the same as the best one, or plainly worse where it differs."""
    differing = [place for place, (one, other) in enumerate(zip(reading.text, best.text, strict=True)) if one != other]
    lead = sum(best.good[place] - reading.good[place] for place in differing)
    return lead >= _MIN_LEAD * len(differing)


def _read(context: list[tuple[str, ...]], language: Language) -> _Decoding:
    good, in_words, frequent, typical, inside, capitals = [], 0, 0, 0, 0, 0
    for before, letter, after in context:
        small = letter.lower()
        latin = _is_ascii_letter(before) or _is_ascii_letter(after)
        if small in language.letters:
            wrong_case = before.islower() if letter != small else after.isupper()
            wrong_place = (latin and bool(language.frequent)) or (letter in _FINAL_LETTERS and after.isalpha())
            good.append(not wrong_case and not wrong_place)
            inside += 1
            capitals += letter != small
            in_words += latin
            frequent += small in language.frequent
            typical += small in language.typical
        else:
            inner, touching = before.isalpha() and after.isalpha(), before.isalpha() or after.isalpha()
            good.append(
                letter in _WITHIN_WORDS or (letter in _SENTENCE_MARKS and not inner)
                or (letter in _SYMBOLS and not touching)
            )  # fmt: skip
    score = sum(good) / len(good)
    if language.frequent:
        score *= min(1.0, frequent / max(0.6 * inside, 1.0)) * (0.9 if capitals > 0.6 * inside else 1.0)
    elif in_words < 0.3 * inside:
        score *= 0.7  # the words of Latin scripts have ASCII letters as well
    elif language.typical and inside >= 2 * _MIN_LETTERS and typical < _MIN_TYPICAL * inside:
        score *= _SPARSE_SCORE
    text = "".join(letter for _, letter, _ in context)
    return _Decoding(text, good, inside, score if inside or not language.frequent else 0.0)


def _is_ascii_letter(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _guess_otherwise(data: bytes) -> EncodingGuess:
    """The guess of charset-normalizer, if it has no doubt, and if the encoding is none that was tried already."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(data[: 1 << 16]))
    names = tuple(codecs.lookup(match.encoding).name for match in matches[:3])
    if matches and matches[0].chaos <= 0.05 and matches[0].coherence >= 0.5 and names[0] not in _TRIED:
        return EncodingGuess(names[0])
    return EncodingGuess("", names)
