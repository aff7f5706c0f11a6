"""The Grafana dashboard asks for figures, and by labels, that /metrics has."""

import json
import re
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

import agent.responders.arm_metrics
import agent.responders.draft_metrics
import agent.server.app  # noqa: F401  # makes the metrics of a server
from agent.server.workers.merged_health import MergedHealth

BOARD = json.loads((Path(__file__).parents[1] / "deploy/grafana/onebreath.json").read_text())
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
OF_PROMETHEUS = {"job", "instance", "le"}


def known(folder) -> dict[str, set[str]]:
    """Name of each series -> its own labels."""
    found = {}
    registries: list[CollectorRegistry] = [REGISTRY, MergedHealth(1, lambda: [], folder)._own]
    for registry in registries:
        for collector in list(registry._collector_to_names):
            if isinstance(collector, MetricWrapperBase):
                for name in registry._collector_to_names[collector]:
                    found[name] = set(collector._labelnames)
    return found


def test_every_series_is_one_that_the_server_has(tmp_path):
    series = known(tmp_path)
    assert "onebreath_worker_deaths_total" in series
    assert len(EXPRESSIONS) > 12
    for expression in EXPRESSIONS:
        names = set(re.findall(r"onebreath_\w+", expression))
        assert names
        assert names <= set(series), expression


def test_every_label_is_one_that_its_series_has(tmp_path):
    series = known(tmp_path)
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            names = re.findall(r"onebreath_\w+", expression)
            labels = OF_PROMETHEUS.union(*(series[name] for name in names))
            grouped = re.findall(r"by \(([^)]*)\)", expression)
            asked = {label.strip() for group in grouped for label in group.split(",")}
            asked |= set(re.findall(r"(\w+)=~?\"", expression))
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert asked | shown <= labels, expression
            if "by (" in expression:
                assert shown <= asked, expression


def test_every_figure_of_a_server_is_on_the_dashboard(tmp_path):
    asked = " ".join(EXPRESSIONS)
    left_out = {"onebreath_draft_depth", "onebreath_arm_reply_seconds", "onebreath_arm_replies"}
    plain = {re.sub(r"_(total|created|bucket|sum|count)$", "", name) for name in known(tmp_path)}
    assert {
        name for name in plain if name.startswith("onebreath_") and name not in asked
    } == left_out


def test_panels_do_not_overlap():
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
