"""The suite, and the machine, against the engine that `--layer-subject` names; see `trunkline.layer.testing.plugin`."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ..machine import LayerMachine
from ..subject import Subject
from .suite import LayerConformance


class TestEngine(LayerConformance):
    @pytest.fixture
    def subject(self, layer_subject: type[Subject]) -> Iterator[Subject]:
        subject = layer_subject()
        yield subject
        subject.close()


def test_machine(layer_subject: type[Subject]) -> None:
    """Anything in any order comes to what the model says."""

    class Machine(LayerMachine):
        subject_class = layer_subject

    run_state_machine_as_test(Machine, settings=settings(deadline=None))
