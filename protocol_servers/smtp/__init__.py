"""Mail that comes in by SMTP: a session of our own without I/O, and the server that carries its mails over the bus.

`aiosmtpd` fell short in trials: it takes commands ended by a bare LF and leaves bare CR and LF in mails (which is what
SMTP smuggling needs), gives one LMTP reply for N recipients, says the null sender as the text "<>", and its line by
line reading of DATA costs a multiple (`benchmarks/smtp_data.py`).
"""

from .server import SmtpServer
from .settings import SmtpSettings

__all__ = ["SmtpServer", "SmtpSettings"]
