"""Mail that comes in by SMTP or LMTP: a session of our own without I/O, and the server between it and the bus.

`aiosmtpd` fell short in trials: it takes commands ended by a bare LF and leaves bare CR and LF in mails (which is what
SMTP smuggling needs), gives one LMTP reply for N recipients, says the null sender as the text "<>", and its line by
line reading of DATA costs a multiple (`benchmarks/smtp_data.py`).
"""

from .server import LmtpServer, SmtpServer
from .settings import LmtpSettings, SmtpSettings

__all__ = ["LmtpServer", "LmtpSettings", "SmtpServer", "SmtpSettings"]
