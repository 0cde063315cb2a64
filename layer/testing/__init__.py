"""What tests of layers, and of programs on them, need: time that the test moves, and the suites every engine passes.

`trunkline.layer.testing.conformance` and `trunkline.layer.testing.machine` need pytest and Hypothesis; this module
needs nothing.
"""

from .clock import ManualClock

__all__ = ["ManualClock"]
