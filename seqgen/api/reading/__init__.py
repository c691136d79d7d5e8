"""How sources are understood, without learning from them: `seqgen read`."""
