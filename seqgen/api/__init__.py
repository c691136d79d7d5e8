"""The Python interface: `train`, `load` and `Model`, which the commands use too."""
