"""Names that columns of times have, in many languages."""

from __future__ import annotations

import functools
import re

# A column of such a name holds times, whatever its cells look like.
SURE_NAMES = frozenset(
    ("date", "dates", "datetime", "date time", "timestamp", "time stamp", "time", "ds", "datum", "datumzeit", "zeit",
     "zeitpunkt", "zeitstempel", "datum zeit", "datum uhrzeit", "messdatum", "heure", "horodatage", "fecha",
     "fechahora",
     "fecha hora", "data ora", "data hora", "data e hora", "tijd", "tijdstip", "czas", "data czas", "дата", "время",
     "дата время", "дата и время", "date heure", "日期", "时间", "時間", "日時", "時刻", "日付", "年月日", "年月",
     "交易日期", "年月度", "날짜", "시간", "일자", "일시", "dato", "tidspunkt", "datum tid", "päivämäärä", "aika",
     "dátum",
     "tarih", "čas", "ημερομηνία", "yyyymm", "yyyymmdd", "unix time", "unix timestamp", "epoch time", "time period")
)  # fmt: skip
# A word in a name that says as much: Trade Date, MESS_DATUM, fecha_inicio.
_SURE_WORDS = frozenset(("date", "datetime", "timestamp", "datum", "fecha", "дата"))
# Numbers of columns of such a name are read as times if they can be times.
_LIKELY_WORDS = frozenset(
    ("time", "dt", "ts", "day", "month", "year", "quarter", "week", "period", "hour", "unix", "epoch", "yr", "年份",
     "年",
     "月份", "data", "jahr", "année", "annee", "an", "año", "ano", "anno", "jaar", "rok", "год", "år", "yıl", "év",
     "monat",
     "mois", "mes", "mês", "mese", "maand", "miesiąc", "месяц", "tag", "jour", "día", "dia", "giorno", "dag", "dzień",
     "день", "quartal", "trimestre", "kwartał", "квартал", "kvartal", "woche", "semaine", "semana", "settimana",
     "tydzień",
     "неделя", "period", "periode", "période", "periodo", "período", "okres", "период", "hora", "ora", "uhrzeit", "uur",
     "godzina", "час", "时间", "日期", "fy", "season", "saison", "yearweek", "yearmonth", "yearmon", "yyyyww",
     "kalenderwoche", "jahrwoche", "jahrmonat", "季度", "周", "周次")
)  # fmt: skip
# Fields of a time that may be separate columns.
_FIELDS = {
    "Y": ("year", "yr", "yyyy", "年", "年份", "jahr", "année", "annee", "an", "año", "ano", "anno", "jaar", "rok",
    "год",
          "år", "yıl", "év", "연도"),
    "m": ("month", "mon", "mo", "mm", "mnth", "月", "月份", "monat", "mois", "mes", "mês", "mese", "maand", "miesiąc",
          "месяц", "måned", "månad", "ay", "měsíc", "월"),
    "d": ("day", "dy", "dd", "dom", "mday", "day of month", "日", "tag", "jour", "día", "dia", "giorno", "dag", "dzień",
          "день", "gün", "den", "일"),
    "q": ("quarter", "qtr", "q", "quartal", "trimestre", "kwartał", "квартал", "kvartal", "kwartaal", "季度"),
    "w": ("week", "wk", "isoweek", "kw", "woche", "kalenderwoche", "semaine", "semana", "settimana", "tydzień",
    "неделя",
          "vecka", "uge", "uke", "周"),
    "j": ("doy", "yday", "day of year", "julian day"),
    "H": ("hour", "hr", "hrs", "hh", "hour ending", "he", "时", "小时", "時", "時間", "stunde", "heure", "hora", "ora",
    "uur",
          "godzina", "час", "timme", "time", "zeit", "uhrzeit", "시", "klo", "kello", "klokkeslæt", "klokkeslett",
          "klockslag", "óra", "saat", "hodina", "ώρα", "giờ", "tijd", "czas", "время", "时间", "時刻"),
    "M": ("minute", "min", "mi", "minutes", "分", "minuto", "минута", "minuta", "minuut"),
    "S": ("second", "sec", "ss", "seconds", "秒", "sekunde", "seconde", "segundo", "secondo", "секунда"),
}  # fmt: skip
# Chinese has no spaces between words: how a name ends says what it holds, as in 统计日期, 会计年度, but 年度销售额.
# Behind a number, or "this" and "last", it is one such time, and numbers are what was measured then: 一季度, 上年度.
_HAN_SURE = re.compile("(?:日期(?:时间|時間)?|时间戳|時間戳|年月)$")
_HAN_FIELD = re.compile(
    r"(?<![\d一二三四五六七八九十本上下去今当前])(?:(?P<Y>年度|年份)|(?P<m>月度|月份)|(?P<q>季度))$"
)
# Other names that end in 时间 are of durations: 响应时间.
_HAN_LIKELY = re.compile(
    "(?:交易日|报告期|报告日|(?:采集|采样|观测|监测|测量|记录|统计|数据|更新|上报|发布|发生|发送|创建|入库|交易|成交|下单|支付|开始|"
    "起始|结束|北京|当地|本地)(?:时间|時間))$"
)
_CYCLES = frozenset(
    ("weekday", "dow", "wday", "day of week", "dayofweek", "dayofyear", "wochentag", "weekofyear", "week of year")
)
# Longer times than a day that stand before a point, as in 2019.01; others count hours, and the like, with decimals.
_PERIODS = frozenset(
    ("period", "periode", "période", "periodo", "período", "okres", "период", "season", "saison", "fy", "yearweek",
     "yearmonth", "yearmon", "yyyyww", "jahrwoche", "jahrmonat")
)  # fmt: skip
# Columns that number the rows.
_COUNTERS = frozenset(
    ("id", "index", "idx", "no", "nr", "num", "number", "row", "step", "t", "instant", "序号", "编号")
)
# What pandas calls an index without a name: in CSV that it reads, row numbers too; in Parquet, other indexes only.
_READ_INDEX_NAME = "unnamed 0"
_INDEX_NAMES = frozenset((_READ_INDEX_NAME, "index level 0"))


@functools.lru_cache(1 << 10)
def normalise_name(name: str) -> str:
    """Return a name in lower case, its words separated by spaces, without units: `Trade_Date (UTC)` → `trade date`."""
    name = re.sub(r"[(\[（【][^)\]）】]*[)\]）】]", " ", name)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def is_surely_time(name: str) -> bool:
    """Whether a column of this name must hold times."""
    words = normalise_name(name)
    return words in SURE_NAMES or not _SURE_WORDS.isdisjoint(words.split()) or bool(_HAN_SURE.search(words))


def is_likely_time(name: str) -> bool:
    """Whether the numbers in a column of this name may be times."""
    words = normalise_name(name)
    if is_surely_time(name) or not _LIKELY_WORDS.isdisjoint(words.split()):
        return True
    return bool(_HAN_LIKELY.search(words) or _HAN_FIELD.search(words))


def ends_in_period(name: str) -> bool:
    """Whether the last word of a name is that of years or their parts, as in `decimal year`; `year mean` has others."""
    last = normalise_name(name).rpartition(" ")[2]
    return is_likely_time(last) and (last in _PERIODS or field_of(last) in ("Y", "q", "m", "w"))


def field_of(name: str) -> str:
    """Return the field of a time that a column of this name holds, as a letter of `TimeFormat`; '' for none."""
    words = normalise_name(name)
    letter = next((letter for letter, names in _FIELDS.items() if words in names), "")
    return letter or ((found := _HAN_FIELD.search(words)) and found.lastgroup) or ""


def is_day(name: str) -> bool:
    """Whether numbers in a column of this name may be those of days."""
    return field_of(name) == "d" or normalise_name(name) == "data"


def is_calendar(name: str) -> bool:
    """Whether a column of this name may repeat what the time says: year, month, weekday, …"""
    return bool(field_of(name)) or normalise_name(name) in _CYCLES


def is_counter(name: str) -> bool:
    """Whether a column of this name may number the rows."""
    return normalise_name(name) in _COUNTERS or is_likely_time(name)


def is_index_name(name: str) -> bool:
    """Whether a column has the name that pandas gives to row numbers without one."""
    return normalise_name(name) in _INDEX_NAMES


def is_read_index_name(name: str) -> bool:
    """Whether a column has the name that pandas gives to a first one without, as it writes row numbers to CSV."""
    return normalise_name(name) == _READ_INDEX_NAME
