"""A job of worker processes that never answers. It imports little, as workers start in each test."""

from __future__ import annotations

import time
from collections.abc import Sequence

from seqgen.tokenizers.workers import Job, WorkerReply

SLEEPING_JOB = f"{__name__}:sleeping_job"


def sleeping_job(files: object) -> Job:
    """Make the job."""

    def sleep(batch: Sequence[memoryview]) -> WorkerReply:
        time.sleep(30)
        return WorkerReply(None, [])

    return sleep
