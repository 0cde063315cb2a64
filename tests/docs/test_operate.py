"""The page for operators: its settings are ones, and its alerts ask for numbers that there are."""

import re
from pathlib import Path

from trunkline.operations import load
from trunkline.operations.status.metrics import METRICS

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_its_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct horse", encoding="utf-8")
    found = []
    for number, block in enumerate(blocks("how-to/operate.md", "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block.replace("/run/secrets/operations-token", str(tmp_path / "token")), encoding="utf-8")
        found.append(load(str(path), {}, {}, {}).operations)
    assert [(each.host, each.port) for each in found] == [("127.0.0.1", 9090), ("0.0.0.0", 9090)]
    assert found[1].token is not None
    assert found[1].token.value == "correct horse"


def test_its_alerts_ask_for_metrics_that_there_are() -> None:
    [rules] = blocks("reference/metrics.md", "yaml")
    asked = set(re.findall(r"trunkline_\w+", rules))
    known = {metric.name for metric in METRICS}
    known |= {f"{metric.name}_bucket" for metric in METRICS if metric.type == "histogram"}
    assert len(asked) >= 8
    assert asked <= known
