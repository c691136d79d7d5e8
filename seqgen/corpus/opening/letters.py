"""The letters that languages use most: what a wrong decoding of their text lacks."""

from __future__ import annotations

from typing import NamedTuple

_SIMPLIFIED = (
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天"
    "而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些"
    "与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相"
    "次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立"
    "马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共"
    "风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快"
    "曰吾汝矣乃兵贾宝玉操备将军哥兄弟奴官府城言此遂皆若令亦兮焉哉乎夫盖故则使诸未闻岂甚余谓与惟耳"
)
# Simplified characters above that have another form, and that form.
_FORMS = (
    "这這来來国國个個说說们們为為时時会會着著过過家家学學对對里裡后後么麼没沒于於还還发發当當无無开開见見经經头頭"
    "动動两兩长長样樣现現将將与與进進实實点點种種声聲话話问問机機给給几幾业業间間电電门門东東气氣关關并並产產万萬"
    "体體别別处處总總场場师師书書员員华華报報马馬张張难難数數车車应應系係计計亲親务務记記边邊风風战戰干幹许許觉覺"
    "题題统統请請爱愛让讓认認论論义義术術结結连連远遠资資队隊带帶从從贾賈宝寶备備军軍则則诸諸闻聞岂豈余餘谓謂"
)
_TRADITIONAL = _SIMPLIFIED.translate(dict(zip(map(ord, _FORMS[::2]), _FORMS[1::2], strict=True)))
_CJK_MARKS = "，。、；：？！“”‘’「」『』《》（）—…　·"
_HANGUL = (
    "이다는을의에가고지하사기로한리도자인시나어대아서해정일라수그들보은있게만것부전구상제원면스과니여오장주으우었경동성세"
    "공안비선치조거마위신생중말를습야요않때무내소와적더했던러까네당없모르"
)

CHINESE = (frozenset(_SIMPLIFIED + _CJK_MARKS), frozenset(_TRADITIONAL + _CJK_MARKS))
JAPANESE = (frozenset([*map(chr, range(0x3041, 0x3097)), *map(chr, range(0x30A1, 0x30FD)), *"、。「」々"]),)
KOREAN = (frozenset(_HANGUL),)


class Language(NamedTuple):
    """The letters of a language beyond ASCII, in lower case; the most frequent ones, if its script is not Latin.

    `typical`: letters of which every longer text has some.
    """

    letters: frozenset[str]
    frequent: frozenset[str] = frozenset()
    typical: frozenset[str] = frozenset()


def _latin(letters: str, typical: str = "") -> Language:
    return Language(frozenset(letters), typical=frozenset(typical))


def _script(letters: str, first: int, last: int) -> Language:
    return Language(frozenset([*letters, *map(chr, range(first, last + 1))]), frozenset(letters))


WESTERN = tuple(
    map(
        _latin,
        (
            "àâæçéèêëîïôœùûüÿ", "äöüß", "áéíóúñüªº", "áàâãçéêíóôõúüªº", "àáèéìíîòóùú", "åäöéü", "æøåéòôüäö",
            "éëïöüáóèê", "áæðéíóöþúý", "àçèéíïòóúüŀ",
        ),
    )
)  # fmt: skip
# Names and words of several languages in one text count a little less.
WESTERN_MIXED = Language(frozenset().union(*(language.letters for language in WESTERN)) - frozenset("ðþý"))
# French and Italian in a Western encoding have é, and what would be č, ŕ, ů or ę.
CENTRAL = (
    _latin("ąćęłńóśźż"), _latin("áčďéěíňóřšťúůýž", "áíšžýř"), _latin("áäčďéíĺľňóôŕšťúýž", "áíšžý"), _latin("áéíóöőúüű"),
    _latin("ăâîșțşţ"), _latin("čćđšž"), _latin("äöüß"),
)  # fmt: skip
TURKISH = (_latin("çğıöşüâîû"),)
BALTIC = (_latin("ąčęėįšųūž"), _latin("āčēģīķļņšūž"), _latin("äöõüšž"))
CYRILLIC = (
    _script("оеаинтсрвлґ", 0x430, 0x45F),
    _script("оаиневтрслґ", 0x430, 0x45F),  # Ukrainian and Serbian
)
GREEK = (_script("αοιετσνςόίά", 0x3AC, 0x3CE),)
HEBREW = (_script("יוהלאתמרבש", 0x5D0, 0x5EA),)
ARABIC = (_script("اليمونرتبه", 0x621, 0x652), _script("ادنریهومتب", 0x621, 0x6CC))
THAI = (_script("านรอกเงมยล่้ิีัไ", 0xE01, 0xE4E),)
