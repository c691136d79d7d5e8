"""Conversations of messages that are JSON objects: their speakers, texts and order; service messages.

A speaker's key is one of `message_keys`, or is found by its values: few, and repeated. Where messages say nothing but
their text, two speakers alternate; where a speaker is unknown, `UnclearSpeakersError` is raised.
"""

from __future__ import annotations

import html
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from seqgen.corpus.conversations.message_keys import (
    KNOWN_ROLES,
    NOT_SPEAKERS,
    SPEAKERS,
    Keys,
    name_of,
    normal_key,
    text_of,
    without_tags,
)
from seqgen.corpus.conversations.parsing import (
    ASSISTANT_ROLES,
    SYSTEM_ROLES,
    SYSTEM_SPEAKER,
    USER_ROLES,
    UnclearSpeakersError,
    Utterances,
    alternate_speakers,
    speakers_by_name,
    speakers_by_role,
    system_answers,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.series.dates import MICROS_PER_SECOND, Integers, is_time_of_day, parse_times

_SERVICE_TYPES = frozenset((
    "service", "system", "event", "notification", "subscribe", "unsubscribe", "call", "join", "leave", "log",
    "systemeventmessage", "event/call",
))  # fmt: skip
_SKYPE_ACTIVITY, _SKYPE_MEDIA = "ThreadActivity/", "RichText/"  # starts of types: AddMember, UriObject, Media_Video
_DISCORD_SPEECH = frozenset(("default", "reply", "chatinputcommand", "contextmenucommand", "0", "19", "20", "23"))
_SLACK_SPEECH = frozenset(("bot_message", "file_share", "thread_broadcast", "reply_broadcast", "me_message"))
_DELETED_TEXTS = frozenset(("[deleted]", "[removed]"))
_SLACK_KEYS = ("thread_ts", "user_profile")
_MAX_NAME = 64
_MIN_REPEATED = 4  # messages among which values can be called few and repeated
_MIN_UNREPEATED = 8  # messages of a conversation whose speakers, if all different, are no speakers
_MILLISECONDS = 1e11  # larger numbers count milliseconds since 1970, still larger ones micro- or nanoseconds


def _identity(value: Any, name: str, beside: Any) -> str:
    """What tells a speaker from others who have the same name. `beside`: an id in another key of the message."""
    if isinstance(beside, str | int) and beside != "" and name.lower() not in KNOWN_ROLES:
        return f"{beside}"
    if isinstance(value, dict) and isinstance(value.get("id"), str | int) and "role" not in value:
        return f"{value['id']}"
    return name


@dataclass(eq=False, slots=True)
class _Message:
    identity: str
    name: str
    text: str
    time: float | None
    written: list[str]  # the ways to read the time, if it isn't understood by itself
    source: Mapping[str, Any]


class MessageReader:
    """Turns lists of messages into utterances, by keys that are the same for a whole file.

    Args:
        samples: lists of messages from the beginning of the file, from which a speaker's key is found.
        may_alternate: whether messages without any speaker may be by two speakers who take turns.
        names: names of users by their ids.
    """

    def __init__(
        self,
        samples: Sequence[Sequence[Any]],
        name: str,
        report: ConversationReport,
        may_alternate: bool,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._report, self._names = name, report, names or {}
        self._keys: dict[tuple[str, ...], Keys] = {}
        self._people: dict[tuple[Any, ...], Any] = {}
        self._has_roles = False  # under the key `role`
        dicts = [[each for each in sample if isinstance(each, dict)] for sample in samples]
        dicts = [sample for sample in dicts if sample]
        self._rejected = _unrepeated(dicts)
        self._found: str | None = None
        self._may_alternate = may_alternate
        everyone = [message for sample in dicts for message in sample]
        if everyone and not any(self.keys(message).speakers for message in everyone):
            self._keys.clear()
            candidates = _speakers_by_values(everyone)
            if len(candidates) == 1:
                self._found = candidates[0]
                report.speaker_key = self._found
            elif candidates or any(self.keys(message).times for message in everyone) or self._rejected:
                self._may_alternate = False
            self._keys.clear()

    def keys(self, message: Mapping[str, Any]) -> Keys:
        shape = tuple(message)
        keys = self._keys.get(shape)
        if keys is None:
            keys = self._keys[shape] = Keys.of(shape, self._rejected, self._found)
            self._has_roles = self._has_roles or (bool(keys.speakers) and normal_key(keys.speakers[0]) == "role")
        return keys

    def slim(self, message: Any) -> Any:
        """A message without what is not used, to be kept in memory; no message for what is not an object."""
        if not isinstance(message, dict):
            return None
        message = _unwrapped(message)
        keys = self.keys(message)
        kept = {key: message[key] for key in (*keys.used, *_SLACK_KEYS) if key in message}
        for key in keys.media:
            kept[key] = bool(kept[key])
        for key in keys.speakers:
            if isinstance(kept[key], dict):
                scalars = {name: value for name, value in kept[key].items() if isinstance(value, str | int)}
                scalars = scalars if name_of(scalars) else {"name": name_of(kept[key])}
                kept[key] = self._people.setdefault(tuple(scalars.items()), scalars)
        return kept

    def group(self, messages: Sequence[Any]) -> list[Sequence[Any]]:
        """Part messages into their conversations, if they name them, in order of appearance."""
        groups: dict[str, list[Any]] = {}
        for message in messages:
            keys = self.keys(message).conversations if isinstance(message, dict) else ()
            groups.setdefault(next((f"{key} {name_of(message[key])}" for key in keys), ""), []).append(message)
        return list(groups.values())

    def read(self, messages: Sequence[Any]) -> Utterances:
        """Return the utterances in order of time. Raises `UnclearSpeakersError`."""
        simple: list[tuple[str, str]] = []
        for message in messages:
            if not isinstance(message, dict):
                break
            keys = self.keys(message)
            if not keys.is_plain or not keys.texts or not keys.speakers:
                break
            text, who = message[keys.texts[0]], message[keys.speakers[0]]
            if type(text) is not str or type(who) is not str:
                break
            simple.append((who, text))
        else:
            return self._numbered(simple)
        return self._read_any(messages)

    def _read_any(self, messages: Sequence[Any]) -> Utterances:
        found: list[_Message] = []
        named: dict[str, set[str]] = {}  # by an id beside a name: the names that it has
        report, has_speakers = self._report, False
        for message in messages:
            if not isinstance(message, dict):
                report.empty_turns += 1
                continue
            message = _unwrapped(message)
            keys = self.keys(message)
            if _is_service(message, keys):
                report.system_turns += 1
                continue
            text = text_of(message, keys)
            if not (keys.texts or keys.media or keys.deleted):
                report.empty_turns += 1
                continue
            if any(message[key] is True for key in keys.deleted) or text in _DELETED_TEXTS:
                report.deleted += 1
                continue
            if not text.strip() and any(message[key] for key in keys.media):
                report.media += 1
                continue
            if keys.type and str(message[keys.type]).startswith(_SKYPE_MEDIA):
                report.media += 1
                continue
            key = next((key for key in keys.speakers if name_of(message[key])), None)
            name = name_of(message[key]) if key else ""
            beside = message[keys.speaker_id] if keys.speaker_id and key == keys.speakers[0] else None
            identity = _identity(message[key], name, beside) if key else ""
            if beside is not None:
                named.setdefault(identity, set()).add(name)
            has_speakers = has_speakers or bool(name)
            if "ts" in message and message.get("type") == "message":  # Slack
                name, text = self._slack_name(message, name), _slack_text(text, self._names)
            elif "sender_name" in message:
                repaired, text = self._repair(name), self._repair(text)
                name, identity = repaired, repaired if identity == name else identity
            elif keys.type and str(message[keys.type]).lower() == "richtext" and "originalarrivaltime" in message:
                text = without_tags(text)  # Skype
            time = next((time for key in keys.times if (time := _time(message[key])) is not None), None)
            written = [] if time is not None else _written(map(message.get, keys.times))
            found.append(_Message(identity, name, text, time, written, message))
        if found and not has_speakers:
            if not self._may_alternate:
                raise UnclearSpeakersError(self._name)
            return alternate_speakers([message.text for message in found])
        without_ids = {one.name for one in found if one.identity == one.name}
        for one in found:
            if one.name in without_ids or len(named.get(one.identity, ())) > 1:  # an id of several is no person's
                one.identity = one.name
        found = self._last_branch(self._ordered(found))
        return self._numbered([(one.identity, one.text) for one in found], _distinct_names(found))

    def _numbered(self, turns: Sequence[tuple[str, str]], names: Sequence[str] | None = None) -> Utterances:
        """Number the speakers: by role under the key `role`, or if the names are roles."""
        lower = {who.strip().lower() for who in {who for who, _ in turns}}
        known = lower & KNOWN_ROLES
        both = not known.isdisjoint(USER_ROLES) and not known.isdisjoint(ASSISTANT_ROLES)
        if self._has_roles or both or known == lower:
            utterances = speakers_by_role(turns, self._report)
        else:
            utterances = speakers_by_name(turns)
        if names is not None:
            utterances = [(number, text, name) for (number, text, _), name in zip(utterances, names, strict=True)]
        if lower.isdisjoint(SYSTEM_ROLES) or system_answers([who.strip().lower() for who, _ in turns]):
            return utterances
        return [
            (SYSTEM_SPEAKER if who.lower() in SYSTEM_ROLES else number, text, name)
            for (number, text, name), (who, _) in zip(utterances, turns, strict=True)
        ]

    def _ordered(self, messages: list[_Message]) -> list[_Message]:
        """Put messages in order of time, or each after the one that it replies to; what is unordered stays."""
        if 2 * sum(message.time is None for message in messages) > len(messages):
            self._read_dates(messages)
        times: list[float] = []
        known = 0
        is_reversed = False
        for message in messages:
            known += message.time is not None
            times.append(message.time if message.time is not None else times[-1] if times else float("-inf"))
        if 2 * known < len(messages):
            ids = [self._id(message.source, self.keys(message.source).ids) for message in messages]
            parents = [self._id(message.source, self.keys(message.source).parents) for message in messages]
            ordered = _after_parents(messages, ids, parents)
        else:
            rises = sum(later > earlier for earlier, later in itertools.pairwise(times))
            falls = sum(later < earlier for earlier, later in itertools.pairwise(times))
            if not falls and not any("thread_ts" in message.source for message in messages):
                return messages
            indices = list(range(len(messages)))
            if falls > rises:  # so the newest of the messages of one minute is first, too
                indices.reverse()
                is_reversed = True
                self._report.newest_first += 1
            threads = {index: _time(messages[index].source.get("thread_ts")) for index in indices}
            indices.sort(key=lambda index: (times[index] if threads[index] is None else threads[index], times[index]))
            ordered = [messages[index] for index in indices]
        expected = messages[::-1] if is_reversed else messages
        self._report.reordered += any(one is not other for one, other in zip(ordered, expected, strict=True))
        return ordered

    def _read_dates(self, messages: Sequence[_Message]) -> None:
        """Understand times that are written as dates in another form than ISO 8601, if most messages have one.

        Where day and month are ambiguous, messages are rather in order than not.
        """
        dated = [message for message in messages if message.written]
        if 2 * len(dated) < len(messages):
            return
        unclear = ""
        for way in range(max(len(message.written) for message in dated)):
            cells = [message.written[min(way, len(message.written) - 1)] for message in dated]
            if len(set(cells)) < 2:
                continue
            parsed = parse_times(cells, fits=_is_rising)
            if parsed.bad < 0 and parsed.unsure and not _is_rising(parsed.times):
                parsed = parse_times(cells, fits=lambda times: _is_rising(times[::-1]))
            times = [time / MICROS_PER_SECOND for time in parsed.times.tolist()]
            is_sure = not parsed.unsure or _is_rising(parsed.times) or _is_rising(parsed.times[::-1])
            if parsed.bad < 0 and is_sure and min(times) >= _FIRST_TIME:
                for message, time in zip(dated, times, strict=True):
                    message.time = time
                return
            unclear = cells[max(parsed.bad, 0)][:40]
        if unclear:
            self._report.add_unclear_times(self._name, unclear)

    def _last_branch(self, messages: list[_Message]) -> list[_Message]:
        """Leave out the replies to a chat model's user, and the questions, that were tried and replaced.

        They have the same parent as others. People's replies to one message are no alternatives.
        """
        parents = [self._id(message.source, self.keys(message.source).parents) for message in messages]
        known = [parent for parent in parents if parent]
        if len(known) == len(set(known)) or not {message.name.lower() for message in messages} <= KNOWN_ROLES:
            return messages
        indices = {self._id(one.source, self.keys(one.source).ids): index for index, one in enumerate(messages)}
        chain: list[int] = []
        each: int | None = len(messages) - 1
        while each is not None and len(chain) < len(messages):
            chain.append(each)
            each = indices.get(parents[each]) if parents[each] else None
        self._report.branches += len(messages) - len(chain)
        return [messages[index] for index in reversed(chain)]

    @staticmethod
    def _id(message: Mapping[str, Any], keys: Sequence[str]) -> str:
        return next((found for key in keys if (found := _bare_id(message[key]))), "")

    def _slack_name(self, message: Mapping[str, Any], name: str) -> str:
        profile = message.get("user_profile")
        profile = profile if isinstance(profile, dict) else {}
        named = next(
            (found for key in ("display_name", "real_name", "name") if (found := name_of(profile.get(key)))), ""
        )
        return named or self._names.get(name, name)

    def _repair(self, text: str) -> str:
        """Decode UTF-8 that was read as Latin-1, as in the exports of Messenger and Instagram."""
        if text.isascii():
            return text
        try:
            repaired = text.encode("latin-1").decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            return text
        self._report.repaired += 1
        return repaired


def _distinct_names(messages: Sequence[_Message]) -> list[str]:
    """The name of each message's speaker, with the identity of those who have the same name as others."""
    people: dict[str, set[str]] = {}
    for message in messages:
        people.setdefault(message.name, set()).add(message.identity)
    return [
        message.name if len(people[message.name]) == 1 else f"{message.name} ({message.identity})"
        for message in messages
    ]


def _unrepeated(samples: Sequence[Sequence[Mapping[str, Any]]]) -> frozenset[str]:
    """Return the keys of `SPEAKERS` whose values are as many as the messages of long conversations."""
    many: Counter[str] = Counter()
    different: Counter[str] = Counter()
    for sample in samples:
        if len(sample) >= _MIN_UNREPEATED:
            names: dict[str, list[str]] = {}
            for message in sample:
                for key in message:
                    if (normal := normal_key(key)) in SPEAKERS:
                        names.setdefault(normal, []).append(name_of(message[key]))
            for normal, values in names.items():
                many[normal] += len(values)
                different[normal] += len(set(values))
    return frozenset(key for key, count in many.items() if different[key] > 0.8 * count)


def _speakers_by_values(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys with few and repeated names in all messages."""
    if len(messages) < _MIN_REPEATED:
        return []
    found = []
    for key in messages[0]:
        if normal_key(key) in NOT_SPEAKERS:
            continue
        values = [message.get(key) for message in messages]
        if any(isinstance(value, bool | float | list) or value is None for value in values):
            continue
        names = Counter(name_of(value) for value in values)
        is_short = all(0 < len(name) <= _MAX_NAME for name in names)
        if is_short and 2 <= len(names) <= len(messages) // 2:
            found.append(key)
    return found


def _unwrapped(message: dict[str, Any]) -> dict[str, Any]:
    """Take a message out of what some programs put around it."""
    inner = message.get("message")
    if isinstance(inner, dict) and ("role" in inner or "author" in inner):
        return {**{key: value for key, value in message.items() if key != "message"}, **inner}
    envelope = message.get("envelope")
    if not isinstance(envelope, dict):
        return message
    data = envelope.get("dataMessage")
    if not isinstance(data, dict):  # sent from another device of one's own, or a receipt
        sync = envelope.get("syncMessage")
        data = sync.get("sentMessage") if isinstance(sync, dict) else None
    data = data if isinstance(data, dict) else {}
    sender = envelope.get("sourceName") or envelope.get("source") or envelope.get("sourceNumber")
    return {
        "sender": sender, "text": data.get("message") or "", "timestamp": envelope.get("timestamp"),
        "attachments": data.get("attachments"), "type": None if data else "event",
    }  # fmt: skip


def _is_service(message: Mapping[str, Any], keys: Keys) -> bool:
    """Whether a message is the program's: someone joined, the name of a group was changed, a call was missed."""
    kind = message[keys.type] if keys.type else None
    if isinstance(kind, str) and (kind.lower() in _SERVICE_TYPES or kind.startswith(_SKYPE_ACTIVITY)):
        return True
    if isinstance(message.get("author"), dict) and (
        isinstance(kind, int) or (isinstance(kind, str) and kind[:1].isupper())
    ):
        return str(kind).lower() not in _DISCORD_SPEECH
    subtype = message[keys.subtype] if keys.subtype else None
    return isinstance(subtype, str) and bool(subtype) and "ts" in message and subtype not in _SLACK_SPEECH


def _time(value: Any) -> float | None:
    """Seconds since 1970 of a number, or of a date in ISO 8601; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            try:
                date = datetime.fromisoformat(text.removesuffix(" UTC"))
            except ValueError:
                return None
            return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_TIME:
        return None
    seconds = float(value)
    while seconds > _MILLISECONDS:
        seconds /= 1000
    return seconds


def _written(values: Iterable[Any]) -> list[str]:
    """The ways to read the time of a message, of texts with digits: a day with the time of day beside it, a day."""
    texts = [text for value in values if isinstance(value, str) and any(map(str.isdigit, text := value.strip()))]
    clocks = [text for text in texts if is_time_of_day(text)] if len(texts) > 1 else []
    days = [text for text in texts if text not in clocks]
    return [*(f"{day} {clocks[0]}" for day in days if clocks and ":" not in day), *(days or clocks)]


def _is_rising(times: Integers) -> bool:
    return bool((times[1:] >= times[:-1]).all())


_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?")
_MAX_TIME = 10**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_TIME = (datetime(1000, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()  # before it: 29-04, a day and a month


def _after_parents(messages: list[_Message], ids: Sequence[str], parent_ids: Sequence[str]) -> list[_Message]:
    """Put each message after the one that it replies to, if that is another order."""
    indices = {name: index for index, name in enumerate(ids) if name}
    parents = [indices.get(name) if name else None for name in parent_ids]
    if not any(parent is not None and parent > index for index, parent in enumerate(parents)):
        return messages
    ordered: list[_Message] = []
    done: set[int] = set()
    for index in range(len(messages)):
        chain: list[int] = []
        each: int | None = index
        while each is not None and each not in done:
            done.add(each)
            chain.append(each)
            each = parents[each]
        ordered += (messages[each] for each in reversed(chain))
    return ordered


def _bare_id(value: Any) -> str:
    """An id without the prefix that Reddit gives to those of parents."""
    return re.sub(r"^t[1-6]_", "", name_of(value))


def _slack_text(text: str, names: Mapping[str, str]) -> str:
    """Slack's text as it is shown: `<@U1>` is a name, `<#C1|general>` a channel, `<https://…>` a link."""
    return (
        html.unescape(_SLACK_MARK.sub(lambda match: _slack_mark(match[1], names), text))
        if "<" in text or "&" in text
        else text
    )


def _slack_mark(mark: str, names: Mapping[str, str]) -> str:
    target, _, label = mark.partition("|")
    if target.startswith("@"):
        return "@" + (label or names.get(target[1:], target[1:]))
    if target.startswith(("#", "!")):
        return {"#": "#", "!": "@"}[target[0]] + (label.lstrip("@#") or target[1:])
    return target


_SLACK_MARK = re.compile(r"<([@#!]?[^<>\s][^<>]*)>")
