"""The memory engine passes the suite of every engine."""

from trunkline.layer.testing import MemorySubject
from trunkline.layer.testing.conformance import LayerConformance


class TestMemory(LayerConformance):
    subject_class = MemorySubject
