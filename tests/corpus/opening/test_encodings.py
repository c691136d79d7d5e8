"""Encodings that are recognised, and those that are not plain."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.opening import FileForm, encodings, identify
from seqgen.corpus.opening.form import as_utf8, encoding_name, text_codec
from seqgen.corpus.opening.identify import UnclearEncodingError
from seqgen.corpus.opening.validation import EncodingCheck
from seqgen.errors import DataError, UserError
from tests.helpers.documents import QUICK, write_file

# A few sentences in each language, written for this test, and the encodings that people save them in.
TEXTS = {
    "simplified Chinese": (
        "那天早上，他们在山脚下的小镇里等了很久，谁也没有来。老人说：“这条路是通往北方的，你们要小心一点。”",
        ("gb18030", "gbk", "gb2312"),
    ),
    "traditional Chinese": (
        "那天早上，他們在山腳下的小鎮裡等了很久，誰也沒有來。老人說：「這條路是通往北方的，你們要小心一點。」",
        ("big5", "cp950", "big5hkscs", "gb18030"),
    ),
    "Japanese": (
        "その朝、ふたりは山のふもとの小さな町で長いこと待っていましたが、だれも来ませんでした。",
        ("cp932", "shift_jis", "euc_jp", "iso2022_jp"),
    ),
    "Korean": ("그날 아침 그들은 산 아래 작은 마을에서 오래 기다렸지만 아무도 오지 않았습니다.", ("cp949", "euc_kr")),
    "French": (
        "Ce matin-là, ils attendirent très longtemps près de la forêt. « Où êtes-vous ? » demanda le garçon, et l'œil "
        "du vieux s'éclaira à peine.",
        ("cp1252", "iso8859_15", "mac_roman"),
    ),
    "German": (
        "An jenem Morgen warteten sie lange. „Die Straße führt nach Norden, hütet euch“, sagte der Älteste.",
        ("cp1252", "mac_roman"),
    ),
    "Spanish": ("Aquella mañana esperaron. ¿Adónde vais?, preguntó el señor. ¡Cuidad!", ("cp1252", "cp850")),
    "Polish": (
        "Tego ranka długo czekali w miasteczku, lecz nikt nie przyszedł. Uważajcie, ścieżka jest śliska — rzekł źle.",
        ("cp1250", "iso8859_2", "cp852"),
    ),
    "Czech": ("Toho rána dlouho čekali v městečku, ale nikdo nepřišel, řekl stařec.", ("cp1250", "iso8859_2")),
    "Hungarian": ("Azon a reggelen sokáig vártak, de senki sem jött. Őrült tűz égett.", ("cp1250", "iso8859_2")),
    "Russian": (
        "В то утро они долго ждали в городке у подножия горы, но никто не пришёл. Берегитесь, сказал старик.",
        ("cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5"),
    ),
    "Ukrainian": ("Того ранку вони довго чекали, але ніхто не прийшов. Їхній дід мовчав.", ("cp1251", "koi8_u")),
    "Greek": ("Εκείνο το πρωί περίμεναν πολλή ώρα στην πόλη, αλλά δεν ήρθε κανείς.", ("cp1253", "iso8859_7")),
    "Turkish": ("O sabah kasabada uzun süre beklediler, ama kimse gelmedi. Işık söndü, yağmur başladı.", ("cp1254",)),
    "Hebrew": ("באותו בוקר הם חיכו זמן רב בעיירה, אבל איש לא בא.", ("cp1255", "iso8859_8")),
    "Arabic": ("في ذلك الصباح انتظروا طويلا في البلدة الصغيرة ولم يأت أحد.", ("cp1256",)),
    "Thai": ("เช้าวันนั้นพวกเขารออยู่ในเมืองเล็กเป็นเวลานาน แต่ไม่มีใครมา", ("cp874", "tis_620")),
    "English": (
        "They waited for a long time in the little town, and nobody came. “It’s a naïve idea,” she said — ‘really’ … "
        "and left the café.",
        ("cp1252", "mac_roman"),
    ),
}  # fmt: skip
CASES = [(language, codec) for language, (_, codecs) in TEXTS.items() for codec in codecs]
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
MARKED = ("utf-8-sig", "utf-16", "utf-32")


def read(path: Path, form: FileForm) -> str:
    return b"".join(as_utf8([path.read_bytes()], form, "file")).decode()


def form_of(folder: Path, data: bytes) -> FileForm:
    return identify(write_file(folder / "file.txt", data), "file.txt")


@pytest.mark.parametrize(("language", "codec"), CASES)
@pytest.mark.parametrize("lines", [1, 40])
def test_identify_text_in_a_legacy_encoding_reads_what_was_written(
    language: str, codec: str, lines: int, tmp_path: Path
) -> None:
    text = (TEXTS[language][0] + "\n") * lines
    path = write_file(tmp_path / "file.txt", text.encode(codec, "ignore"))
    form = identify(path, "file.txt")
    assert (form.kind, form.mark) == ("text", False)
    assert read(path, form) == text.encode(codec, "ignore").decode(codec)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("codec", [*WIDE, *MARKED])
def test_identify_text_in_unicode_reads_what_was_written_without_a_mark(
    language: str, codec: str, tmp_path: Path
) -> None:
    text = "\r\n".join([TEXTS[language][0], "", "end 😀"])
    path = write_file(tmp_path / "file.txt", text.encode(codec))
    form = identify(path, "file.txt")
    assert (form.kind, form.mark) == ("text", codec in MARKED)
    assert read(path, form) == text


@pytest.mark.parametrize("text", ["", "a", "ab", "plain words\n", "中文", "é"])
def test_identify_utf8_stays_utf8(text: str, tmp_path: Path) -> None:
    form = form_of(tmp_path, text.encode())
    assert (form.encoding, form.mark) == ("utf-8", False)


def test_identify_ascii_head_with_another_encoding_further_on_finds_it(tmp_path: Path) -> None:
    """The licence at the head of a book is ASCII; the book is not."""
    head = b"This book is in the public domain.\n" * 4000
    for language, codec in (("simplified Chinese", "gb18030"), ("traditional Chinese", "cp950"), ("French", "cp1252")):
        body = (TEXTS[language][0] + "\n").encode(codec, "ignore") * 500
        assert form_of(tmp_path, head + body).encoding == codec


def test_identify_a_few_stray_bytes_in_utf8_stay_utf8(tmp_path: Path) -> None:
    text = TEXTS["simplified Chinese"][0].encode() * 20
    for stray in (b"\xff", b"\xc3\x28", b"\xe9 "):
        assert form_of(tmp_path, text + stray + text).encoding == "utf-8"
    assert form_of(tmp_path, b"plain text with one byte \xe9\n").encoding == "utf-8"


def test_identify_a_damaged_novel_is_read_and_damage_becomes_replacement_characters(tmp_path: Path) -> None:
    """Chinese novels from the web often have a few broken bytes."""
    line = (TEXTS["simplified Chinese"][0] + "\n").encode("gb18030")
    path = write_file(tmp_path / "novel.txt", line * 50 + b"\xff\n" + line * 50)
    form = identify(path, "novel.txt")
    assert form.encoding == "gb18030"
    assert read(path, form) == (line.decode("gb18030") * 50) + "\ufffd\n" + (line.decode("gb18030") * 50)


def test_identify_two_plausible_readings_is_refused_with_the_flag(tmp_path: Path) -> None:
    """Words whose letters are common in two alphabets."""
    data = ("Ð" + "ðþ" * 3).encode("cp1252") * 10
    with pytest.raises(UnclearEncodingError, match=r"may be .* \(--encoding \w+\) or .*; say which") as error:
        form_of(tmp_path, b"a " + data.replace(b"\xfe", b"e\xfe ") + b"\n")
    assert "\n" not in str(error.value)


def test_identify_with_a_given_encoding_is_strict(tmp_path: Path) -> None:
    path = write_file(tmp_path / "file.txt", "naïve\n".encode("cp1252") * 10)
    form = identify(path, "file.txt", "latin-1")
    assert read(path, form) == "naïve\n" * 10
    for name in ("utf-8", "ascii", "utf-32"):
        form = identify(path, "file.txt", name)
        with pytest.raises(DataError, match=r"'file' is not .*can't be decoded.*--encoding"):
            read(path, form)


@pytest.mark.parametrize(
    ("name", "written"),
    [("utf-16", "ascii"), ("utf-16", "utf-16-le"), ("utf-16", "utf-16-be"), ("utf-32", "utf-32-le")],
)
def test_as_utf8_of_utf16_or_utf32_without_a_mark_asks_for_the_order_of_bytes(name: str, written: str) -> None:
    form = FileForm(encoding=text_codec(name), strict=True)
    with pytest.raises(DataError, match=f"'file' has no byte order mark: give --encoding {name}-le or {name}-be"):
        b"".join(as_utf8(["plain words".encode(written)], form, "file"))
    assert b"".join(as_utf8(["plain words".encode(name)], form, "file")) == b"plain words"


@pytest.mark.parametrize("name", ["", "none", "utf-9", "rot13", "base64", "idna", "zlib", "a\0b", "x" * 999])
def test_text_codec_of_an_unknown_encoding_raises_one_line(name: str) -> None:
    with pytest.raises(UserError, match="there is no encoding") as error:
        text_codec(name)
    assert "\n" not in str(error.value)


def test_encoding_name_is_as_people_write_it() -> None:
    names = {
        "utf-16-le": "UTF-16 (little-endian)",
        "cp1252": "Windows-1252",
        "cp950": "Big5",
        "iso8859_2": "ISO-8859-2",
    }
    assert {codec: encoding_name(codec) for codec in names} == names


@QUICK
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), min_size=1, max_size=300),
    codec=st.sampled_from(["utf-8", *WIDE]),
    cut=st.integers(1, 50),
)
def test_as_utf8_of_any_chunks_is_the_text(text: str, codec: str, cut: int) -> None:
    data = text.encode(codec)
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)]
    assert b"".join(as_utf8(chunks, FileForm(encoding=codec), "")) == text.encode()


@QUICK
@given(
    text=st.text(max_size=60),
    cuts=st.lists(st.integers(1, 7), min_size=1),
    tail=st.sampled_from([b"", b"\xe4", b"\xff"]),
)
def test_encoding_check_counts_what_is_not_utf8_wherever_chunks_end(text: str, cuts: list[int], tail: bytes) -> None:
    check, data = EncodingCheck(FileForm()), text.encode() + tail
    left = data
    while left:
        cut = cuts[len(left) % len(cuts)]
        check.feed(left[:cut])
        left = left[cut:]
    check.finish()
    assert (check.damaged, check.first) == ((1, len(data) - 1) if tail else (0, -1))


@pytest.mark.parametrize("chunks", [[b"caf\xe9"], [b"caf", b"\xe9"]])
def test_encoding_check_an_accent_at_the_end_of_a_short_file_is_a_stray_byte(chunks: list[bytes]) -> None:
    check = EncodingCheck(FileForm())
    for chunk in chunks:
        check.feed(chunk)
    check.finish()
    assert (check.damaged, check.first, check.corrected("cafe.txt")) == (1, 3, None)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=600) | st.text(max_size=200).map(lambda text: text.encode("utf-16")))
def test_guess_of_any_bytes_never_fails(data: bytes) -> None:
    found = encodings.guess([data])
    for codec in (found.codec, *found.alternatives):
        if codec:
            data.decode(codec, "replace")


def test_guess_of_random_bytes_finds_no_encoding_of_text() -> None:
    noise = random.Random(3)
    assert not [found for _ in range(6) if (found := encodings.guess([noise.randbytes(4000)])).codec]


def test_guess_text_that_is_partly_utf8_needs_a_whole_reading_in_another_encoding() -> None:
    """Some Chinese words in GB18030 are UTF-8 by chance; with a byte that is neither, nothing proves the former."""
    chinese = "小小说说吃里都".encode("gb18030")
    assert encodings.guess([chinese]).codec == "gb18030"
    assert encodings.guess([chinese + b"\xff"]).codec == "utf-8"
    assert encodings.guess(["naïve café\n".encode() * 2 + b"\xff\xfa\n"]).codec == "utf-8"
