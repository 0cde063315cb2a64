"""The tables `[smtp.webhooks.PROVIDER]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

from ....operations.secret import Secret
from ...listening import ListeningSettings

_PATH = re.compile(r"/[!-~]*")
_TOPIC = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{1,40}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}")


def region_host(topic: str) -> str | None:
    """Return the host of Amazon SNS in a topic's region; None where it is no topic's name (ARN)."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return None
    return f"sns.{found[2]}.amazonaws.com" + (".cn" if found[1] == "aws-cn" else "")


@dataclass(kw_only=True)
class WebhookSettings(ListeningSettings):
    """Where a provider posts mails to us. `ListeningSettings` has the rest.

    Args:
        endpoints: where to listen, as Twisted endpoint strings; several providers may share one.
        path: where it posts to; hard to guess where that and a password are all there is.
        secret: what tells its requests from anybody else's.
    """

    endpoints: list[str]
    path: str
    secret: Secret | None = None

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        super().__post_init__()
        if not self.endpoints:
            raise ValueError("endpoints: nobody could post here; name one such as tcp:8025")
        if not _PATH.fullmatch(self.path) or set(self.path) & set("?#%"):
            raise ValueError(f"path: {self.path!r} is not a path such as /mailgun/mime")

    def needs_secret(self, what: str) -> None:
        """Check that there is a secret.

        Raises:
            ValueError: there is none.
        """
        if self.secret is None:
            raise ValueError(f"secret: anybody could post here; set it to {what}")


@dataclass(kw_only=True)
class MailgunSettings(WebhookSettings):
    """Mailgun's `forward()`; with a path that ends with "mime" it sends the raw mail, which is what DKIM is about.

    Args:
        secret: the HTTP webhook signing key.
    """

    def __post_init__(self) -> None:
        """Check what no type says."""
        super().__post_init__()
        self.needs_secret("the HTTP webhook signing key")


@dataclass(kw_only=True)
class PostmarkSettings(WebhookSettings):
    """Postmark's inbound webhook.

    Args:
        secret: "user:password", as they stand in the address that it posts to: `https://user:password@host/path`.
    """

    def __post_init__(self) -> None:
        """Check what no type says."""
        super().__post_init__()
        self.needs_secret('"user:password"')
        if self.secret is not None and ":" not in self.secret.value:
            raise ValueError('secret: expected "user:password"')


@dataclass(kw_only=True)
class SendgridSettings(WebhookSettings):
    """SendGrid's Inbound Parse.

    Args:
        secret: the public key of its security policy; or "user:password", as they stand in the address that it posts
            to.
    """

    def __post_init__(self) -> None:
        """Check what no type says."""
        super().__post_init__()
        self.needs_secret('the public key of its security policy, or to "user:password"')


@dataclass(kw_only=True)
class SesSettings(WebhookSettings):
    """Amazon SES, whose receipt rule puts mails on a topic of SNS.

    Args:
        secret: "user:password", where they stand in the address that it posts to; Amazon signs anyway.
        topic: the topic's name: `arn:aws:sns:REGION:ACCOUNT:NAME`. Its subscription is confirmed, and nothing else is
            listened to.
    """

    topic: str

    def __post_init__(self) -> None:
        """Check what no type says."""
        super().__post_init__()
        if region_host(self.topic) is None:
            raise ValueError(f"topic: {self.topic!r} is not a name such as arn:aws:sns:eu-west-1:123456789012:mail")


@dataclass(kw_only=True)
class WebhooksSettings:
    """Providers that post mails to us.

    Args:
        mailgun: Mailgun.
        postmark: Postmark.
        sendgrid: SendGrid.
        ses: Amazon SES.
    """

    mailgun: MailgunSettings | None = None
    postmark: PostmarkSettings | None = None
    sendgrid: SendgridSettings | None = None
    ses: SesSettings | None = None

    def __post_init__(self) -> None:
        """Check what the tables say together.

        Raises:
            ValueError: two of them are at odds.
        """
        seen: dict[tuple[str, str], str] = {}
        shared: dict[str, tuple[str, tuple[object, ...]]] = {}
        for name, each in self.all():
            limits = tuple(getattr(each, one.name) for one in fields(ListeningSettings))
            for endpoint in each.endpoints:
                other = seen.setdefault((endpoint, each.path), name)
                if other != name:
                    raise ValueError(f"{name}: {other} has the path {each.path} at {endpoint} already")
                first, theirs = shared.setdefault(endpoint, (name, limits))
                if theirs != limits:
                    raise ValueError(f"{name}: what is said of connections is not what {first} says of {endpoint}, too")

    def all(self) -> Iterator[tuple[str, WebhookSettings]]:
        """Yield the providers that there are, by their names."""
        for one in fields(self):
            settings = getattr(self, one.name)
            if settings is not None:
                yield one.name, settings
