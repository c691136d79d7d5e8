"""Dialogue: predict the next token of a conversation, words and speakers alike."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from seqgen.checkpoint import RANKER, Weights, identity
from seqgen.config import TrainOptions
from seqgen.corpus import ids
from seqgen.corpus.conversations.read import Conversation, Turn, grouping, iter_conversations
from seqgen.corpus.conversations.report import ConversationReport
from seqgen.corpus.conversations.store import ConversationStore, ConversationSubset
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, ModelError
from seqgen.generation.engines.choose import make_engine
from seqgen.model.language import LanguageModel
from seqgen.tasks.base import Companion, Preparation
from seqgen.tasks.id_cache import sources_label, suffixes
from seqgen.tasks.language import ENCODING, ENCODING_HELD_OUT, READING, LanguageData, LanguageTask, Messages
from seqgen.tasks.text import text_metrics
from seqgen.tasks.vocabulary import extend_codec, fit_codec
from seqgen.time_limit import TimeLimit
from seqgen.tokenizers import END_OF_DOCUMENT, Codec, dump
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.dialogue import DialogueCodec, count_speakers
from seqgen.tokenizers.workers import batch_by_size, encode_batches
from seqgen.training.device import Compute
from seqgen.training.plans.base import Plan, SpeedProbe
from seqgen.training.reply_ranking import learn_ranking

_CUT_EVERY = 5  # conversations: see `_cut`
_MANY_STREAMS = 256  # for which the engine is chosen that ranks replies
_RANKING_TIME = 0.06  # of a budget: to learn the ranking of replies


@dataclass(frozen=True)
class DialogueData(LanguageData):
    """See `base.Data`. The companion of a dialogue model is its ranker."""

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        plan = super().plan(options, compute, speed, spent)
        seconds = plan.schedule.seconds
        if seconds is None:
            return plan
        return replace(plan, schedule=replace(plan.schedule, seconds=seconds - _RANKING_TIME * (seconds - spent)))

    def companion(
        self,
        network: LanguageModel,
        weights: Weights,
        compute: Compute,
        seed: int,
        trained_tokens: int,
        limit: TimeLimit,
    ) -> Companion | None:
        codec = _dialogue_codec(self.codec)
        if self.held_out is None:
            return None
        part = limit.part(_RANKING_TIME / (1 - _RANKING_TIME))
        engine = make_engine(network.config, weights, device=compute.device.type, streams=_MANY_STREAMS)
        learnt = learn_ranking(network, engine, codec, self.train, self.held_out, compute, seed, trained_tokens, part)
        if learnt is None:
            return None
        contents = learnt.ranker.dump(identity(network.config, dump(codec)))
        return Companion(RANKER, contents, {"hits_at_1_of_10": learnt.hits_at_1})


class DialogueTask(LanguageTask[ConversationSubset]):
    """See `base.Task`."""

    counted: ClassVar[tuple[str, ...]] = ("tokens", "turns", "characters", "bytes", "words", "conversations")

    def cache_name(self, preparation: Preparation) -> str:
        documents = [*preparation.documents, *preparation.valid]
        name = f"{self.spec.name} {preparation.options.strict} {suffixes(documents)}"
        grouped = [grouping(preparation.documents), grouping(preparation.valid)]
        added = [preparation.options.sheet, str(grouped) if any(grouped) else None]
        return " ".join([name, *filter(None, added)])

    def read(self, preparation: Preparation, messages: Messages) -> tuple[ConversationSubset, ConversationSubset]:
        conversations = _read(preparation.documents, preparation, messages)
        if preparation.valid:
            valid = _read(preparation.valid, preparation, messages)
            return conversations.select(np.arange(len(conversations))), valid.select(np.arange(len(valid)))
        return conversations.hold_out(preparation.options.val_fraction)

    def codec(self, preparation: Preparation, train: ConversationSubset) -> Codec:
        preparation.report("learning the vocabulary")
        if preparation.codec is not None:
            return _dialogue_codec(preparation.codec)
        options, source = preparation.options, _ConversationSource(train)
        if preparation.start is not None:
            return extend_codec(_dialogue_codec(preparation.start.codec), source, preparation.limit)
        speakers = count_speakers([turn.speaker for turn in conversation.turns] for conversation in train)
        text = fit_codec(options.tokenizer_for(self.spec.name), source, options.vocab_size, limit=preparation.limit)
        return DialogueCodec(text, speakers)

    def encode(
        self,
        preparation: Preparation,
        codec: Codec,
        part: ConversationSubset,
        path: Path,
        is_train: bool,
        messages: Messages,
    ) -> tuple[IdStream, dict[str, int]]:
        dialogue = _dialogue_codec(codec)
        preparation.report(f"encoding {len(part):,} conversations")
        limit = preparation.limit.part(ENCODING if is_train else ENCODING_HELD_OUT)
        conversations = limit.until_over(part)
        runs = _cut(conversations) if is_train else ((conversation.turns, True) for conversation in conversations)
        counts = Counter(dict.fromkeys(self.counted, 0))
        pending: deque[tuple[list[int], bool]] = deque()  # speakers of each run being encoded, and whether it ends

        def words() -> Iterator[bytes]:
            for turns, is_end in runs:
                pending.append(([turn.speaker for turn in turns], is_end))
                counts["conversations"] += is_end
                for turn, data in zip(turns, _turn_bytes(turns), strict=True):
                    counts["turns"] += 1
                    counts["characters"] += len(turn.text)
                    counts["bytes"] += len(data)
                    counts["words"] += len(turn.text.split())
                    yield data
                preparation.progress(min(counts["bytes"], part.size), part.size)

        batches = encode_batches(dialogue.text, batch_by_size(words()), preparation.options.threads, limit.check)
        encoded = (piece for batch in batches for piece in batch)

        def parts() -> Iterator[tuple[Sequence[Ids], bool]]:
            for first in encoded:
                speakers, is_end = pending.popleft()
                pieces = [first, *itertools.islice(encoded, len(speakers) - 1)]
                turns = [
                    dialogue.turn_from_ids(speaker, piece) for speaker, piece in zip(speakers, pieces, strict=True)
                ]
                counts["tokens"] += sum(map(len, turns))
                yield turns, is_end

        stream = ids.build(path, parts(), codec.vocab_size, codec.end, sources_label(preparation))
        if counts["conversations"] < len(part):
            whose = "" if is_train else " held out"
            messages.add_cut(f"{counts['conversations']:,} of {len(part):,} conversations{whose}")
        return stream, dict(counts)

    def data_of(
        self, codec: Codec, train: IdStream, held_out: IdStream | None, counts: Mapping[str, int], key: str
    ) -> DialogueData:
        return DialogueData(codec, train, held_out, counts, key, self.loss_metrics)

    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        return text_metrics(loss, counts)


def _read(documents: list[Document], preparation: Preparation, messages: Messages) -> ConversationStore:
    """Read the conversations and report what was found."""
    # One of several files may be a README; a lone file, or any with --strict, has to be conversations.
    lenient = len(documents) > 1 and not preparation.options.strict
    report, store = ConversationReport(), ConversationStore()
    total = sum(document.size for document in documents)
    warn = (lambda message: messages.add(message, True)) if lenient else None
    limit = preparation.limit.part(READING)
    found = iter_conversations(documents, report, warn=warn, sheet=preparation.options.sheet)
    for conversation in found:
        store.append(conversation)
        limit.check()
        if limit.is_over and next(found, None) is not None:
            messages.add_cut(f"the first {len(store):,} conversations")
            break
        preparation.progress(min(store.size, total), total)  # roughly: markup isn't counted
    if report.damaged_lines and preparation.options.strict:
        raise DataError(f"{report.summary()}; without --strict they would be skipped")
    messages.add(report.summary(), bool(report.damaged_lines))
    return store


@dataclass(frozen=True)
class _ConversationSource:
    """See `vocabulary.TextSource`. Each turn is a document."""

    conversations: ConversationSubset

    @property
    def size(self) -> int:
        return self.conversations.size

    def sample(self, size: int) -> _ConversationSource:
        return _ConversationSource(self.conversations.every_nth(max(1, self.conversations.size // size)))

    def chunks(self) -> Iterator[bytes]:
        for conversation in self.conversations:
            for data in _turn_bytes(conversation.turns):
                yield data
                yield END_OF_DOCUMENT


def _turn_bytes(turns: Iterable[Turn]) -> Iterator[bytes]:
    for turn in turns:
        yield turn.text.encode("utf-8", "surrogateescape")


def _dialogue_codec(codec: Codec | Scaler) -> DialogueCodec:
    if not isinstance(codec, DialogueCodec):
        raise ModelError(f"cannot train on dialogue: the model has the tokenizer {codec.name}")
    return codec


def _cut(conversations: Iterable[Conversation]) -> Iterator[tuple[Sequence[Turn], bool]]:
    """The conversations, every fifth cut in two before one of its turns (turns, and whether they end it).

    So the model also learns the turns of either speaker without a history: `--candidates` compares a reply with its
    likelihood without one.
    """
    rng = np.random.Generator(np.random.Philox(key=0))
    for number, conversation in enumerate(conversations):
        turns = conversation.turns
        if number % _CUT_EVERY == 0 and len(turns) > 1:
            first = int(rng.integers(1, len(turns)))
            yield turns[:first], False
            turns = turns[first:]
        yield turns, True
