"""The memory engine does what the model does, whatever is done to it."""

from hypothesis import settings

from trunkline.layer.testing import MemorySubject
from trunkline.layer.testing.machine import LayerMachine


class MemoryMachine(LayerMachine):
    subject_class = MemorySubject


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
