"""The ipc engine passes the suite of every engine."""

from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.ipc import IpcSubject


class TestIpc(LayerConformance):
    subject_class = IpcSubject
