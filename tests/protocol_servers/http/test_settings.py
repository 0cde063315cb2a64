"""What the table [http] refuses at start, so that no handshake fails over it later."""

import pytest

from trunkline.protocol_servers.http import HttpSettings


@pytest.mark.parametrize("origin", ["app.example.com", "https://", "https://a.example/path", ""])
def test_wrong_origins_are_told_at_start(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        HttpSettings(origins=[origin])


def test_origins() -> None:
    """Every form that the policy knows is taken."""
    origins = ["https://app.example.com", "http://localhost:3000", "null", "*"]
    assert HttpSettings(origins=origins).origins == origins
