"""The ipc engine does what the model does, whatever is done to it."""

from hypothesis import settings

from trunkline.layer.testing.ipc import IpcSubject
from trunkline.layer.testing.machine import LayerMachine


class IpcMachine(LayerMachine):
    subject_class = IpcSubject


TestIpcMachine = IpcMachine.TestCase
TestIpcMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
