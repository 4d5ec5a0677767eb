"""The alerts and the dashboard ask only for what docs/metrics.md lists.

That what it lists exists, tests/acceptance/test_metrics.py sees in a running testbed.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy/prometheus/dslice.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/dslice.json"
METRICS = (ROOT / "docs/metrics.md").read_text()
TARGET = {"instance", "job"}  # labels that Prometheus adds


def listed() -> dict[str, set[str]]:
    """Metric to its labels, as the tables have them."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"`(dslice_\w+)(?:\{([\w,]*)\})?`", METRICS):
        found.setdefault(name, set()).update(filter(None, labels.split(",")))
    return found


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def base(name: str) -> str:
    """The metric of a histogram's sample."""
    known = listed()
    return name if name in known else re.sub(r"_(bucket|count|sum)$", "", name)


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_each_metric_and_label_is_listed(expression: str) -> None:
    known, selected = listed(), re.findall(r"\b(dslice_\w+)(?:\{([^}]*)\})?", expression)
    assert selected or expression.startswith("up{")
    for name, labels in selected:
        assert base(name) in known, name
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
        assert asked <= known[base(name)], (name, labels)
    grouped = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")}
    allowed = {label for name, _ in selected for label in known[base(name)]} | TARGET | {"le"}
    assert grouped <= allowed


def test_every_alert_says_how_bad_and_what_to_do() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names)
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
    cited = re.findall(r"`([A-Z]\w+)` \(", METRICS.partition("## Alerts")[2])
    assert cited
    assert set(cited) <= set(names)


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian's package prometheus)")
def test_prometheus_reads_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
