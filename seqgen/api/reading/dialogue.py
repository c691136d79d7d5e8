"""How dialogue is read: each conversation is a record, and whole conversations are held out."""

from __future__ import annotations

from typing import Any

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.corpus.conversations.read import Conversation, iter_conversations
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.conversations.store import ConversationStore
from seqgen.errors import DataError
from seqgen.quantities import plural


def read(context: ReadingContext) -> Reading:
    """Read the documents as training does. Raises `UserError` if they can't be."""
    options = context.options
    lenient = len(context.documents) > 1 and not options.strict
    report, store = ConversationReport(), ConversationStore()
    first: list[list[dict[str, Any]]] = []
    warn = context.warn if lenient else None
    for conversation in iter_conversations(context.documents, report, warn=warn, sheet=options.sheet):
        store.append(conversation)
        if len(first) < context.count:
            first.append(_turns(conversation))
    if report.damaged_lines and options.strict:
        raise DataError(f"{report.summary()}; without --strict they would be skipped")
    for remark in report.changes():
        context.warn(remark)
    _, held_out = store.hold_out(options.val_fraction)
    held_turns = sum(len(each.turns) for each in held_out)
    if not len(held_out) and options.val_fraction:
        context.warn("one conversation is too little to hold any out")
    return Reading(
        report.format,
        "conversation",
        records=report.conversations,
        held_out=len(held_out),
        held_out_part=plural(held_turns, "turn"),
        delimiter=report.delimiter,
        columns=report.columns,
        speakers=report.speakers,
        first=first,
        sizes={"turns": report.turns},
    )


def _turns(conversation: Conversation) -> list[dict[str, Any]]:
    return [{"speaker": turn.speaker, "text": turn.text} for turn in conversation.turns]
