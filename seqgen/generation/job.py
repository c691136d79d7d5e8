"""What the samples of a request share."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config import SampleOptions, SearchOptions
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.constraints import SamplingRules
from seqgen.generation.sampling.draw import is_compiled
from seqgen.generation.state import StateOwner
from seqgen.tokenizers import Codec


@dataclass(frozen=True)
class GenerationJob:
    """The engine, prompt and options that several samples share. `owner`: of the states after them."""

    engine: Engine
    codec: Codec
    prompt: Prompt
    options: SampleOptions
    search: SearchOptions
    rules: SamplingRules
    owner: StateOwner | None = None

    @property
    def by_kernels(self) -> bool:
        """Whether the kernels can generate its texts, several steps in one call."""
        return self.engine.generates and is_compiled(self.rules.filters) and self.rules.kernels_can_follow

    @classmethod
    def of(
        cls, engine: Engine, codec: Codec, prompt: Prompt, options: SampleOptions, stop_at_end: bool = False
    ) -> GenerationJob:
        """A job without a search. `stop_at_end`: whether the model may end a text."""
        rules = SamplingRules.of(codec, prompt, options, stop_at_end)
        return cls(engine, codec, prompt, options, SearchOptions(), rules)
