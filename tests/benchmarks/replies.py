"""Replies read by rule: `python tests/benchmarks/replies.py MODEL LEARNT ASKED [--replies 50]`.

MODEL is a dialogue model, LEARNT the conversations that it was trained on, ASKED others. The same histories of ASKED
get a reply from every temperature and number of candidates, and each reply is read by rules that don't know where it
came from. The first row reads what people said there. So `chat`'s defaults were chosen. Rules, in this order:

    empty        has no word, only punctuation
    broken       has a word that LEARNT has not
    repeats      says an earlier turn again, the last one included, or the same four words twice
    contradicts  says yes and no to one thing: 'Yes, I don't', or the opposite of a sentence said before by this speaker
    shares       has a word of the last two turns that fewer than one turn in a hundred has (in Chinese two characters)

The score is the percentage of replies that share a topic less that of replies with a fault. Beside it stand the
percentages of replies that are word for word the reply to another history (`common`), and of pairs of words that LEARNT
never has side by side (`pairs`): both should be people's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqgen.api.model import Model, load
from seqgen.api.sources import open_sources
from seqgen.config import ReplyOptions, SampleOptions
from seqgen.corpus.conversations.read import read_conversations
from seqgen.corpus.sources import Spool
from seqgen.evaluation.dialogue import SpeakerTurns, distinct_n, sample_reply_contexts, word_tokens
from seqgen.generation.dialogue import ChatSession, Reply

TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
CANDIDATES = (1, 8)
FAULTS = ("empty", "broken", "repeats", "contradicts")
_RARE = 0.01  # fraction of turns with a word, below which it is a topic
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_SENTENCES = re.compile(r"[.!?,;:。！？，；：\n]+")
_YES, _NO = {"yes", "yeah", "of course", "certainly"}, {"no", "nope", "no way"}
_SHORT = re.compile(
    r"(i|you|we|they|he|she|it|that|there) ?['’]? ?(do|does|did|am|m|is|s|are|re|was|were|have|ve|has|had|can|could|"
    r"will|would|should)( ?n['’]t| not)?\b", re.IGNORECASE,
)  # fmt: skip
_NOT = re.compile(r"\b(not|never|no|cannot)\b|\b(do|does|did) ?n ?['’] ?t\b|n ?['’] ?t\b|[不没别]", re.IGNORECASE)


def topics(text: str) -> set[str]:
    """Words; of Chinese text, pairs of characters."""
    words = word_tokens(text)
    han = [bool(_HAN.match(word)) for word in words]
    pairs = {a + b for a, b, x, y in zip(words, words[1:], han, han[1:], strict=False) if x and y}
    return {word for word, is_han in zip(words, han, strict=True) if not is_han} | pairs


class Reader:
    """The rules. `learnt`: the turns of the training set."""

    def __init__(self, learnt: Sequence[str]) -> None:
        self._words = {word for turn in learnt for word in word_tokens(turn)}
        self._pairs = {pair for turn in learnt for pair in word_pairs(turn)}
        self._turns = Counter(word for turn in learnt for word in topics(turn))
        self._most = max(1.0, _RARE * len(learnt))

    def verdicts(self, history: SpeakerTurns, speaker: int, reply: str) -> set[str]:
        """The first fault of a reply, if there is one, and whether it shares a topic."""
        fault = self._fault(history, speaker, reply)
        found = {fault} if fault else set()
        said = {word for _, turn in history[-2:] for word in topics(turn)}
        shared = {word for word in said & topics(reply) if self._turns[word] < self._most}
        return found | ({"shares"} if shared else set())

    def unseen_pairs(self, replies: Sequence[str]) -> float:
        """The percentage of pairs of words that nobody was ever read to say."""
        pairs = [pair for reply in replies for pair in word_pairs(reply)]
        return 100 * sum(pair not in self._pairs for pair in pairs) / max(1, len(pairs))

    def _fault(self, history: SpeakerTurns, speaker: int, reply: str) -> str:
        words = word_tokens(reply)
        if not words:
            return "empty"
        if not set(words) <= self._words:
            return "broken"
        earlier = [word_tokens(turn) for _, turn in history]
        runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
        if words in earlier or len(set(runs)) < len(runs):
            return "repeats"
        own = [sentence for who, turn in history if who == speaker for sentence in sentences(turn)]
        return "contradicts" if contradicts(sentences(reply), own) else ""


def word_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Neighbouring words, the beginning and the end among them."""
    return itertools.pairwise(["<", *word_tokens(text), ">"])


def sentences(text: str) -> list[str]:
    """The sentences and clauses of a text."""
    return [part.strip() for part in _SENTENCES.split(text) if part.strip()]


def contradicts(said: Sequence[str], before: Sequence[str]) -> bool:
    """Whether sentences contradict one another, or those before."""
    for first, second in itertools.pairwise(said):
        opening, answer = " ".join(word_tokens(first)), _SHORT.match(second)
        if answer and opening in (_NO if answer[3] is None else _YES) and len(answer[0]) == len(second):
            return True
    claims = {_claim(sentence) for sentence in before}
    return any((claim, not negated) in claims for claim, negated in map(_claim, said) if len(claim) > 1)


def _claim(sentence: str) -> tuple[tuple[str, ...], bool]:
    """The words of a sentence without its negation, and whether it has one."""
    return tuple(word_tokens(_NOT.sub(" ", sentence))), bool(_NOT.search(sentence))


def conversations(source: str) -> list[SpeakerTurns]:
    with Spool() as spool:
        documents = open_sources("dialogue", [source], spool, None, lambda *_: None, lambda _: None, None, None)
        return [[(turn.speaker, turn.text) for turn in each.turns] for each in read_conversations(documents)[0]]


def replies(
    model: Model, contexts: Sequence[tuple[SpeakerTurns, str]], temperature: float, candidates: int
) -> Iterator[tuple[int, str]]:
    """The speaker and text of the reply to each history."""
    options, reply_options = SampleOptions(temperature=temperature), ReplyOptions(candidates)
    for number, (history, _) in enumerate(contexts):
        session = ChatSession(model.engine, model.dialogue_codec(), options, reply_options, model.ranker)
        session.start_at(number)
        for speaker, text in history:
            session.hear(text, speaker)
        speaker = 1 if history[-1][0] == 0 else 0
        *_, reply = session.reply(speaker=speaker)
        assert isinstance(reply, Reply)
        yield speaker, reply.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("learnt")
    parser.add_argument("asked")
    parser.add_argument("--replies", type=int, default=50)
    parser.add_argument("--show", type=Path, help="File of all replies, as JSON lines.")
    given = parser.parse_args()
    model = load(given.model)
    reader = Reader([text for turns in conversations(given.learnt) for _, text in turns])
    contexts = list(sample_reply_contexts(conversations(given.asked), given.replies))
    shown = []
    print(
        "t     candidates  " + "  ".join(("shares", *FAULTS, "score", "common", "pairs", "words", "distinct-2", "ms"))
    )
    for temperature, candidates in [(math.nan, 0), *((t, n) for t in TEMPERATURES for n in CANDIDATES)]:
        began = time.perf_counter()
        if candidates:
            said = list(replies(model, contexts, temperature, candidates))
        else:
            said = [(1 - min(history[-1][0], 1), reply) for history, reply in contexts]
        seconds = time.perf_counter() - began
        counts: Counter[str] = Counter()
        texts = [text for _, text in said]
        for (history, _), (speaker, text) in zip(contexts, said, strict=True):
            verdicts = reader.verdicts(history, speaker, text)
            counts.update(verdicts)
            shown.append({"t": temperature, "n": candidates, "last": history[-1][1], "reply": text, "is": [*verdicts]})
        percent = {name: 100 * counts[name] / len(said) for name in ("shares", *FAULTS)}
        score = percent["shares"] - sum(percent[fault] for fault in FAULTS)
        common = 100 * sum(times for times in Counter(texts).values() if times > 1) / len(said)
        words = sum(len(word_tokens(text)) for text in texts) / len(texts)
        row = [*percent.values(), score, common, reader.unseen_pairs(texts), words]
        print(f"{temperature:<5} {candidates:>10}  " + "  ".join(f"{value:6.1f}" for value in row)
              + f"  {distinct_n(texts, 2):.3f}  {1000 * seconds / len(said):6.1f}", flush=True)  # fmt: skip
    if given.show:
        lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in shown]
        given.show.write_text("".join(lines), "utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
