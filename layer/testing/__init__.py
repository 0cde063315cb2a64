"""What tests of layers, and of programs on them, need.

`ManualClock` is time that the test moves: `MemoryLayer(clock=ManualClock())`. `faults.FaultProxy` breaks connections.

For authors of engines: describe the engine as a `Subject`, as `MemorySubject` does, and run the suite and the machine
that every engine passes.

    from trunkline.layer.testing import Subject
    from trunkline.layer.testing.conformance import LayerConformance
    from trunkline.layer.testing.machine import LayerMachine

    class MySubject(Subject): ...

    class TestMyLayer(LayerConformance):
        subject_class = MySubject

    class MyMachine(LayerMachine):
        subject_class = MySubject

    TestMyMachine = MyMachine.TestCase

They need pytest and Hypothesis; this module needs nothing. Without a file of tests, from the command line:

    python -m pytest -p trunkline.layer.testing.plugin --layer-subject my_engine.testing:MySubject \\
        --pyargs trunkline.layer.testing.conformance
"""

from .clock import ManualClock
from .memory import MemorySubject
from .subject import Instance, Subject

__all__ = ["Instance", "ManualClock", "MemorySubject", "Subject"]
