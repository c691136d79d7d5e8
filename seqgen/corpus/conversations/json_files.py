"""Parsers of conversations in JSON: arrays, objects or lines, whatever the white space.

The structure is taken from the beginning of a file: where the conversations are, and whether they are read whole, one
in memory at a time, or message by message, where a file is one conversation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqgen.corpus.conversations.json_stream import (
    EACH,
    Found,
    Part,
    Path,
    complete,
    find_line_values,
    find_values,
    select,
)
from seqgen.corpus.conversations.message_keys import (
    SPEAKERS,
    is_example,
    is_message,
    is_surely_message,
    joined_turns,
    normal_key,
    pair,
)
from seqgen.corpus.conversations.messages import MessageReader
from seqgen.corpus.conversations.parsing import (
    ASSISTANT_ROLES,
    SYSTEM_SPEAKER,
    USER_ROLES,
    FileHead,
    TextDocument,
    Utterances,
    alternate_speakers,
    at_least,
    speakers_by_name,
)
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.untrusted import parse_json

# Keys of a list of turns.
_MESSAGES = ("messages", "conversations", "conversation", "chatmessages", "chat", "log", "thread")
_TURNS = ("dialog", "dialogue", "turns", "utterances", "rounds", "exchanges")
_HEAD_SIZES = (1 << 20, 1 << 24)  # read in turn if the first bytes don't show where conversations are
_OF_PARTS = frozenset(("ts", "sender_name"))  # keys of messages of conversations in several files
# Of who wrote an object outside any conversation, those to be preferred first; others of `SPEAKERS` follow.
_WRITERS = (
    "role", "角色", "author", "作者", "from", "sender", "发送者", "發送者", "发送人", "发信人", "发件人", "寄件者",
    "speaker", "说话人", "說話人", "说话者", "发话人", "发言人", "發言人", "发言者", "user", "用户", "name", "姓名",
    "名字",
)  # fmt: skip
_MAX_SAMPLES = 200  # conversations, of which the first are looked at
_MAX_DEPTH = 4  # of the conversations in a file


def parse_messages(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Objects with a list of messages, one per line or in one array; also `conversations`, `from` and `value`.

    {"messages": [{"role": "user", "content": "Is it far?"}, {"role": "assistant", "content": "A mile."}]}
    {"messages": [{"role": "user", "content": "Shall we go?"}, {"role": "assistant", "content": "Soon."}]}
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning."}]}
    """
    return parse_json_files([text], report)


def parse_turns(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Lists of turns, one per line, bare or under `dialog`, `dialogue`, `turns` or `utterances`; speakers optional.

    ["Shall we go?", "In a minute."]
    {"dialog": ["Is it far?", "A mile.", "I'll walk."]}
    {"turns": [{"speaker": "Mary", "text": "Hello"}, {"speaker": "Tom", "text": "Good morning."}]}
    """
    return parse_json_files([text], report)


def parse_pairs(text: TextDocument, report: ConversationReport) -> Iterator[Utterances]:
    """Objects with a question and its reply: `prompt` and `completion`, or `instruction`, `input` and `output`.

    {"prompt": "Shall we go?", "completion": "In a minute."}
    {"question": "Is it far?", "answer": "A mile."}
    {"user": "Hello", "assistant": "Good morning."}
    """
    return parse_json_files([text], report)


def is_json(head: FileHead) -> bool:
    """Whether the head is JSON, with or without conversations; a last value that is cut off counts."""
    text = head.text.lstrip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return False
    lines = head.nonblank_lines
    if len(lines) > 1 and at_least(sum(isinstance(_parsed(line), dict | list) for line in lines), len(lines), 0.5):
        return True
    damaged = [each.is_damaged for each in find_values([text], (), unique_keys=False)]
    return not any(damaged[:-1]) and (
        not damaged[-1] or (not head.is_complete and next(_roots(text, True), None) is not None)
    )


def is_messages(head: FileHead) -> bool:
    """Whether conversations are found by structure, other than bare turns, and questions with replies."""
    return _head_format(head) not in ("", "turns", "pairs")


def is_turns(head: FileHead) -> bool:
    """Whether conversations are lists of strings, or under a key for turns."""
    return _head_format(head) == "turns"


def is_pairs(head: FileHead) -> bool:
    """Whether conversations are questions with replies."""
    return _head_format(head) == "pairs"


def is_surely_messages(head: FileHead) -> bool:
    """Whether the messages have speakers, and are no articles, reviews or settings."""
    structure = _structure(head)
    if structure is None or structure.format == "pairs":
        return False
    if structure.format in ("ChatGPT", "OASST"):
        return True
    messages = [message for sample in structure.samples for message in sample]
    return at_least(sum(map(is_surely_message, messages)), len(messages), 0.5) and not _is_unlike_chat(structure)


def is_surely_pairs(head: FileHead) -> bool:
    """Whether most objects are questions and replies, and the replies are no classes."""
    structure = _structure(head)
    if structure is None or structure.format != "pairs":
        return False
    found = [pair(value) for value in structure.values if isinstance(value, dict)]
    replies = [each[2] for each in found if each]
    return at_least(len(replies), len(structure.values), 0.8) and 2 * len(set(replies)) >= min(len(replies), 20)


def is_part(head: FileHead) -> bool:
    """Whether the messages are Slack's or Messenger's, whose conversations are spread over several files."""
    structure = _structure(head)
    return structure is not None and any(
        isinstance(message, dict) and not _OF_PARTS.isdisjoint(message)
        for sample in structure.samples
        for message in sample
    )


def _is_unlike_chat(structure: _Structure) -> bool:
    """Whether objects outside any conversation have as many speakers as there are objects, or one only."""
    if structure.is_named:
        return False
    messages = (message for sample in structure.samples for message in sample if isinstance(message, dict))
    names = [str(message[key]) for message in messages if (key := _writer_key(tuple(message))) is not None]
    # All different: articles; all the same: one person's posts.
    is_one = len(set(names)) == 1 and names[0].strip().lower() not in USER_ROLES | ASSISTANT_ROLES
    return len(names) > 2 and (len(set(names)) == len(names) or is_one)


@functools.lru_cache(maxsize=1024)
def _writer_key(keys: tuple[str, ...]) -> str | None:
    by_name = {normal_key(key): key for key in keys}
    return next((by_name[name] for name in (*_WRITERS, *SPEAKERS) if name in by_name), None)


@dataclass
class _Structure:
    """Where conversations are in a file.

    Attributes:
        path: of the conversations; of their messages if `is_by_message`.
        is_by_message: whether a top-level value is one conversation or, with an empty path, a message of one.
        is_lines: whether each line is a JSON value.
        is_named: whether a list of turns has a key that says so.
        format: name for the report.
        values: conversations in the head of the file.
        samples: their messages.
    """

    path: Path
    is_by_message: bool
    is_lines: bool
    is_named: bool = False
    format: str = "messages"
    values: list[Any] = field(default_factory=list)
    samples: list[list[Any]] = field(default_factory=list)

    @functools.cached_property
    def kinds(self) -> set[Any]:
        """What tells its conversations from other values, see `_kind`."""
        return {kind for value in self.values if (kind := _kind(value))}


@functools.lru_cache(maxsize=2)
def _structure(head: FileHead) -> _Structure | None:
    text = head.text.lstrip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return None
    lines = head.nonblank_lines
    parsed = [value for line in lines if isinstance(value := _parsed(line), dict | list)]
    is_lines = len(lines) > 1 and at_least(len(parsed), len(lines), 0.5)
    roots = parsed if is_lines else _roots(text, not head.is_complete)
    roots = list(itertools.islice(roots, _MAX_SAMPLES))
    if not roots:
        return None
    if at_least(sum(_is_lone_message(root) for root in roots), len(roots), 0.5):
        return _described(_Structure((), True, is_lines), [roots])
    if at_least(sum(bool(_turns(root)) for root in roots), len(roots), 0.5):
        if len(roots) == 1 and not is_lines:
            key, turns = _turn_list(roots[0])
            if turns is not None and key != "" and any(is_message(turn) for turn in turns):
                path: Path = (EACH,) if key is None else (key, EACH)
                return _described(_Structure(path, True, False), roots)
        return _described(_Structure((), False, is_lines), roots)
    for is_bare, root in itertools.product((False, True), roots):
        found = _find(root, _MAX_DEPTH, is_bare)
        if found is not None:
            values = [value for each in roots for value in select(each, found)]
            return _described(_Structure(found, False, is_lines), values[:_MAX_SAMPLES])
    return None


def _roots(text: str, is_cut_off: bool) -> Iterator[Any]:
    """Yield the top-level values of a head; of the last, which may be cut off or damaged, what comes before."""
    values = (each.value for each in find_values([text], (), unique_keys=False) if not each.is_damaged)
    found = [value for value in values if isinstance(value, dict | list)]
    if found:
        return iter(found)
    try:
        value = complete(text)
    except ValueError:
        return iter(())
    is_nested = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(each, dict | list) for each in value)
    )
    return iter([value] if is_nested or (isinstance(value, list) and is_cut_off) else [])


def _described(structure: _Structure, values: list[Any]) -> _Structure:
    """Add the format, the conversations and the messages at the head of the file."""
    structure.values = values
    for value in values:
        key, turns = _turn_list(value)
        if turns is not None:
            structure.samples.append(turns)
            structure.is_named = structure.is_named or key is not None
    structure.format = next((name for value in values if (name := _format(value))), "messages")
    return structure


def _kind(value: Any) -> Any:
    """What the conversations of a file have in common: their type, the key of their turns, and the type of these.

    None if the value is no conversation.
    """
    turns = _turns(value)
    return (type(value), _turn_list(value)[0], type(turns[0]) if isinstance(turns, list) else dict) if turns else None


def _parsed(source: str) -> Any:
    try:
        return parse_json(source, unique_keys=False)  # reading reports them
    except ValueError:
        return None


def _find(value: Any, depth: int, is_bare: bool) -> Path | None:
    """Return the path of the conversations in a value: lists or objects of them.

    Args:
        is_bare: whether a list of strings, under any key of an object, may be one. Most are of names or ids.
    """
    if depth == 0 or not isinstance(value, dict | list):
        return None
    items = list(value.values()) if isinstance(value, dict) else value[:_MAX_SAMPLES]
    inner = [each for each in items if isinstance(each, dict | list)]
    found = [each for each in inner if _turns(each)]
    if isinstance(value, dict):
        found = [each for each in found if not _are_strings(each) or (is_bare and _has_words(each))]
    is_several = isinstance(value, list) or len(found) > 1 or len(inner) == 1
    if is_several and at_least(len(found), len(inner), 0.5):
        return (EACH,)
    if isinstance(value, list):
        return next(((EACH, *path) for each in inner[:3] if (path := _find(each, depth - 1, is_bare))), None)
    keyed = [(key, each) for key, each in value.items() if isinstance(each, dict | list)]
    keyed.sort(key=lambda item: normal_key(item[0]) not in _MESSAGES)
    for key, each in keyed:
        if _turns(each) is not None and _is_message_list(each):
            return (key,)
        path = _find(each, depth - 1, is_bare)
        if path is not None:
            # The parts of a data set, like "train" and "test", are all read. Others may follow the head of the file.
            others = [_find(other, depth - 1, is_bare) for name, other in keyed if name != key]
            return (EACH if others and all(other == path for other in others) else Part(key), *path)
    return None


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _has_words(texts: Any) -> bool:
    """Whether a list has more than ids: texts with white space, or with letters beyond ASCII."""
    return not all(text.isascii() and len(text.split()) < 2 for text in texts)


def _is_message_list(value: Any) -> bool:
    return isinstance(value, list) and at_least(sum(map(_is_lone_message, value)), len(value), 0.5)


def _is_lone_message(value: Any) -> bool:
    return is_message(value) and _turns(value) is None and not is_example(value)


def _turn_list(value: Any) -> tuple[str | None, list[Any] | None]:
    """Return the list of turns in a value, and its key in an object, "" if it is made of two; or (None, None)."""
    if isinstance(value, list):
        return None, value if _is_turns(value, is_named=False) else None
    if not isinstance(value, dict):
        return None, None
    for key in _turn_keys(tuple(value)):
        turns = value[key]
        if isinstance(turns, list) and _is_turns(turns, is_named=True):
            return key, turns
    if (joined := joined_turns(value)) is not None:
        return "", joined
    if is_message(value):  # a list in a message is a list of its parts
        return None, None
    lists = [key for key, each in value.items() if isinstance(each, list) and _is_surely_chat(each)]
    return (lists[0], value[lists[0]]) if len(lists) == 1 else (None, None)


@functools.lru_cache(maxsize=1024)
def _turn_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys for a list of turns, those to be preferred first."""
    by_name = {normal_key(key): key for key in keys}
    return tuple(by_name[name] for name in (*_MESSAGES, *_TURNS) if name in by_name)


def _is_surely_chat(messages: list[Any]) -> bool:
    return len(messages) > 1 and all(map(is_surely_message, messages))


def _is_turns(turns: list[Any], is_named: bool) -> bool:
    """Whether a list has turns. `is_named`: it has the key of a conversation, so that it may also consist of pairs."""
    if _are_strings(turns):
        return True
    if at_least(sum(is_message(turn) and (is_named or not is_example(turn)) for turn in turns), len(turns), 0.5):
        return True
    if all(_is_spoken(turn) for turn in turns):
        return True
    return is_named and (
        all(map(_is_string_pair, turns)) or all(isinstance(turn, dict) and pair(turn) for turn in turns)
    )


def _is_spoken(turn: Any) -> bool:
    """Whether a turn is a number of a speaker and a text."""
    return isinstance(turn, list) and len(turn) == 2 and type(turn[0]) is int and isinstance(turn[1], str)


def _is_string_pair(turn: Any) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _turns(value: Any) -> Any:
    """Return what the turns of a conversation are read from; None if it is no conversation."""
    _, turns = _turn_list(value)
    if turns is not None:
        return turns
    return value if isinstance(value, dict) and (_is_tree(value) or pair(value)) else None


def _is_tree(value: Mapping[str, Any]) -> bool:
    prompt = value.get("prompt")
    return _is_mapping(value) or (
        isinstance(prompt, dict) and "replies" in prompt and isinstance(prompt.get("text"), str)
    )


def _is_mapping(value: Mapping[str, Any]) -> bool:
    nodes = value.get("mapping")
    return isinstance(nodes, dict) and any(isinstance(node, dict) and "message" in node for node in nodes.values())


def _format(value: Any) -> str:
    """The name of the format of a conversation; '' for none."""
    if isinstance(value, dict):
        if _is_mapping(value):
            return "ChatGPT"
        if _is_tree(value):
            return "OASST"
    key, turns = _turn_list(value)
    if turns is None:
        return "pairs" if isinstance(value, dict) and pair(value) else ""
    if isinstance(value, dict) and "guild" in value and "channel" in value:
        return "Discord"
    if key is not None and normal_key(key) == "chatmessages":
        return "Claude"
    message = next((turn for turn in turns if isinstance(turn, dict)), None)
    if message is None:
        return "turns"
    for name, keys in _FORMAT_KEYS.items():
        if any(keys <= turn.keys() for turn in turns[:20] if isinstance(turn, dict)):
            return name
    speaks = any(each in message for each in ("role", "from", "sender", "author"))
    return "messages" if speaks or key is None or normal_key(key) not in _TURNS else "turns"


_FORMAT_KEYS = {
    "Messenger": {"sender_name", "timestamp_ms"},
    "Telegram": {"from", "from_id", "text"},
    "Slack": {"user", "ts", "text"},
    "Signal": {"envelope"},
}


def _head_format(head: FileHead) -> str:
    structure = _structure(head)
    return structure.format if structure else ""


def parse_json_files(
    texts: Sequence[TextDocument], report: ConversationReport, names: Mapping[str, str] | None = None
) -> Iterator[Utterances]:
    """Read the conversations of one file, or the one conversation that several files are parts of.

    Args:
        names: names of users by their ids.
    """
    structure = None
    for size in (None, *_HEAD_SIZES):
        head = texts[0].head() if size is None else texts[0].head(size)
        structure = _structure(head)
        if structure is not None or head.is_complete:
            break
    structure = structure or _Structure(
        (), False, len(head.nonblank_lines) > 1 and _parsed(head.nonblank_lines[0]) is not None
    )
    is_root = structure.is_by_message and structure.path == ()
    only_text = all(isinstance(each, dict) and len(each) == 1 for sample in structure.samples for each in sample)
    may_alternate = not is_root and (structure.is_named or only_text or not structure.is_by_message)
    reader = MessageReader(structure.samples, texts[0].name, report, may_alternate, names)
    if structure.is_by_message:
        report.add_format(structure.format)
        yield from _by_message(texts, structure, reader, report, names)
        return
    for text in texts:
        yield from _by_conversation(text, structure, reader, report)


def _by_conversation(
    text: TextDocument, structure: _Structure, reader: MessageReader, report: ConversationReport
) -> Iterator[Utterances]:
    named: set[Any] = set()  # shapes whose formats have been added
    for found in _values(text, structure):
        if found.is_damaged:
            report.add_damage(text.name, found.line, found.damage)
            continue
        value = found.value
        if found.is_beside and _kind(value) not in structure.kinds:  # contacts, licences
            continue
        _, turns = _turn_list(value)
        if isinstance(value, dict) and "chosen" in value:
            report.branches += "rejected" in value
        utterances = _utterances(value, turns, reader, report)
        if utterances is None:
            report.add_damage(text.name, found.line, "JSON without a list of turns")
            continue
        first = turns[0] if turns else None
        shape = (tuple(value) if isinstance(value, dict) else None, tuple(first) if isinstance(first, dict) else None)
        if shape not in named:
            named.add(shape)
            report.add_format(_format(value) or structure.format)
        yield utterances


def _by_message(
    texts: Sequence[TextDocument],
    structure: _Structure,
    reader: MessageReader,
    report: ConversationReport,
    names: Mapping[str, str] | None,
) -> Iterator[Utterances]:
    messages: list[Any] = []
    others: list[TextDocument] = []  # without messages where the first file has them
    root = 0
    for text in texts:
        values = _values(text, structure)
        first = next(values, None)
        if first is None:
            others += [text] if text is not texts[0] and _structure(text.head()) else []
            continue
        for found in itertools.chain([first], values):
            if found.is_damaged:
                report.add_damage(text.name, found.line, found.damage)
                continue
            if structure.path and len(texts) == 1 and found.root != root and messages:
                yield from map(reader.read, reader.group(messages))
                messages = []
            root = found.root
            message = reader.slim(found.value)
            if message is None:
                report.add_damage(text.name, found.line, "not a message")
            else:
                messages.append(message)
    yield from map(reader.read, reader.group(messages))
    for text in others:
        yield from parse_json_files([text], report, names)


def _values(text: TextDocument, structure: _Structure) -> Iterator[Found]:
    if structure.is_lines:
        return find_line_values(text.lines(), structure.path)
    return find_values(text.pieces(), structure.path)


def _utterances(
    value: Any, turns: list[Any] | None, reader: MessageReader, report: ConversationReport
) -> Utterances | None:
    """Return the turns of a conversation; None if the value is none."""
    if turns is not None:
        return _of_turns(turns, reader, report)
    if not isinstance(value, dict):
        return None
    if _is_mapping(value):
        return _of_mapping(value, reader, report)
    if _is_tree(value):
        return _of_replies(value["prompt"], reader, report)
    found = pair(value)
    if found is None:
        return None
    history = value.get("history")
    before = [turn for turn in history if _is_string_pair(turn)] if isinstance(history, list) else []
    utterances = alternate_speakers([text for turn in before for text in turn] + [found[1], found[2]])
    return [(SYSTEM_SPEAKER, found[0], "system"), *utterances] if found[0] else utterances


def _of_turns(turns: list[Any], reader: MessageReader, report: ConversationReport) -> Utterances:
    if not turns or isinstance(turns[0], str):
        texts = [turn for turn in turns if isinstance(turn, str)]
        report.empty_turns += len(turns) - len(texts)
        return alternate_speakers(texts)
    if isinstance(turns[0], dict):
        if all(isinstance(turn, dict) and pair(turn) for turn in turns):
            return alternate_speakers([text for turn in turns for text in (pair(turn) or ())[1:]])
        return reader.read(turns)
    if all(map(_is_spoken, turns)):
        return speakers_by_name([(str(who), text) for who, text in turns])
    if all(map(_is_string_pair, turns)):
        names = {who for who, _ in turns}
        if len(turns) > 2 and 2 * len(names) <= len(turns):  # few and repeated
            return speakers_by_name([(who, text) for who, text in turns])
        return alternate_speakers([text for turn in turns for text in turn])
    return reader.read(turns)


_TOOL_CONTENT = ("user_editable_context", "model_editable_context", "execution_output", "thoughts", "reasoning_recap")


def _of_mapping(value: Mapping[str, Any], reader: MessageReader, report: ConversationReport) -> Utterances:
    """Follow ChatGPT's tree from its current node up to the root, leaving out tools and hidden messages."""
    nodes = {key: node for key, node in value["mapping"].items() if isinstance(node, dict)}
    parents = {key: parent if isinstance(parent := node.get("parent"), str) else "" for key, node in nodes.items()}
    current = value.get("current_node")
    chain = _chain(current if isinstance(current, str) and current in nodes else _deepest(parents), parents)
    messages: list[Any] = []
    for key in reversed(chain):
        message = nodes[key].get("message")
        if not isinstance(message, dict):
            continue
        if _is_hidden(message):
            report.system_turns += 1
        else:
            messages.append({"author": message.get("author"), "content": message.get("content")})
    followed = set(chain)
    others = (node.get("message") for key, node in nodes.items() if key not in followed)
    report.branches += sum(isinstance(message, dict) and not _is_hidden(message) for message in others)
    return reader.read(messages)


def _deepest(parents: dict[str, str]) -> str:
    """Return the last node of the greatest depth: where the longest branch ends."""
    depths: dict[str, int] = {"": 0}
    for key in parents:
        path: list[str] = []
        while key not in depths and key in parents:
            depths[key] = 0  # in case of a circle
            path.append(key)
            key = parents[key]
        depth = depths.get(key, 0)
        for each in reversed(path):
            depth = depths[each] = depth + 1
    return max(reversed(parents), key=depths.__getitem__)


def _chain(key: str, parents: Mapping[str, str]) -> list[str]:
    """Return a node and its ancestors."""
    chain: list[str] = []
    while key in parents and len(chain) < len(parents):
        chain.append(key)
        key = parents[key]
    return chain


def _is_hidden(message: Mapping[str, Any]) -> bool:
    """Whether a message of ChatGPT's is by a tool, to a tool, or never shown."""
    author, metadata, content = message.get("author"), message.get("metadata"), message.get("content")
    role = author.get("role") if isinstance(author, dict) else None
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True
    kind = content.get("content_type") if isinstance(content, dict) else None
    return (
        role not in ("user", "assistant") or hidden or message.get("recipient", "all") != "all" or kind in _TOOL_CONTENT
    )


def _of_replies(prompt: Mapping[str, Any], reader: MessageReader, report: ConversationReport) -> Utterances:
    """Follow the replies of the best rank, or the first ones."""
    messages: list[Any] = []
    node: Any = prompt
    while isinstance(node, dict):
        messages.append({key: node[key] for key in ("role", "text") if key in node})
        replies = node.get("replies")
        inner = [reply for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
        ranked = sorted(inner, key=_rank)
        report.branches += sum(map(_size, ranked[1:]))
        node = ranked[0] if ranked else None
    return reader.read(messages)


def _rank(reply: Mapping[str, Any]) -> float:
    rank = reply.get("rank")
    return float(rank) if isinstance(rank, int) and abs(rank) < 1 << 53 else float("inf")


def _size(reply: Mapping[str, Any]) -> int:
    """Messages in a subtree. Its depth is limited by `parse_json`."""
    replies = reply.get("replies")
    return 1 + sum(_size(each) for each in replies if isinstance(each, dict)) if isinstance(replies, list) else 1
