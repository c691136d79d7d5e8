"""The same things the commands do, for a notebook or a program: `train`, `load`, and a `Model`."""
