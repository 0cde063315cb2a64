"""The memory engine passes the suite of every engine."""

from collections import Counter

from trunkline.layer.testing import MemorySubject
from trunkline.layer.testing.conformance import LayerConformance


class TestMemory(LayerConformance):
    subject_class = MemorySubject


def test_no_part_of_the_suite_hides_a_test_of_another() -> None:
    names = Counter(name for part in LayerConformance.__mro__ for name in vars(part) if name.startswith("test_"))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []
