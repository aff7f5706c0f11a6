"""The report of one or several runs as a self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from agent.errors import ConfigError
from agent.latency.compare import Ratio
from agent.latency.estimate import PERCENTILES
from agent.latency.plots import draw_plots
from agent.latency.rows import RecordedRun
from agent.latency.summary import Summary

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>onebreath: latency</title>
<meta name="viewport" content="width=device-width">
<style>
 body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
 table { border-collapse: collapse; margin: 1em 0 }
 th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
 th:first-child, td:first-child { text-align: left }
 small { color: #666 } img { max-width: 100% } .slower { color: #b00 } .faster { color: #070 }
 .error { color: #b00 }
</style></head><body>
<h1>Latency at the caller's ear</h1>
{% for part in parts %}
<h2>{{ part.run.name }}</h2>
<p><small>{% for name, value in part.facts %}{{ name }}: {{ value }}. {% endfor %}</small></p>
<table><tr><th>ms</th><th>n</th>{% for name in percentiles %}<th>{{ name }}</th>{% endfor %}</tr>
{% for figure, found in part.summary.figures.items() %}
<tr><td>{{ figure }}</td><td>{{ part.summary.samples[figure] }}</td>
{% for e in found.values() %}<td>{{ "%.0f"|format(e.value) }}
{% if e.low < e.high %}<small>{{ "%.0f"|format(e.low) }}-{{ "%.0f"|format(e.high) }}</small>
{% endif %}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>{{ part.summary.turns }} turns, {{ part.summary.failed }} with errors,
{{ part.summary.unanswered }} unanswered.
{% if part.summary.checked %}{{ part.summary.passed }} of {{ part.summary.checked }} answers right.
{% endif %}{% if part.wer is not none %}Word error rate {{ "%.1f"|format(100 * part.wer) }} %.
{% endif %}</p>
{% for message, count in part.summary.errors.items() %}
<p class="error">{{ count }} × {{ message }}</p>{% endfor %}
{% if part.ratios %}<table>
<tr><th>over {{ parts[0].run.name }}</th><th></th><th>ratio</th><th>99 % interval</th>
<th>verdict</th></tr>
{% for r in part.ratios %}<tr><td>{{ r.figure }}</td><td>{{ r.percentile }}</td>
<td>{{ "%.2f"|format(r.ratio) }}</td>
<td>{{ "%.2f"|format(r.low) }} to {{ "%.2f"|format(r.high) }}</td>
<td class="{{ r.verdict }}">{{ r.verdict }}</td></tr>{% endfor %}</table>{% endif %}
{% endfor %}
{% for name, data in plots.items() %}
<p><img alt="{{ name }}" src="data:image/png;base64,{{ data }}"></p>{% endfor %}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class ReportPart:
    """One run of a report.

    Attributes:
        run: rows and facts of the run.
        summary: figures of the run.
        wer: word error rate (0 to 1); None: unknown.
        ratios: comparison with the first run of the report; empty for the first run itself.
    """

    run: RecordedRun
    summary: Summary
    wer: float | None
    ratios: Sequence[Ratio] = ()

    @property
    def facts(self) -> list[tuple[str, object]]:
        """Facts of the run by name, in the order of the file's first line."""
        return [(name, value) for name, value in self.run.facts.items() if name != "kind"]


def write_page(path: Path, parts: Sequence[ReportPart]) -> None:
    """Write a page with the tables and plots of all runs.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written.
    """
    drawn = draw_plots([part.run for part in parts])
    plots = {name: base64.b64encode(data).decode("ascii") for name, data in drawn.items()}
    template = Environment(autoescape=True).from_string(_PAGE)
    page = template.render(parts=parts, percentiles=list(PERCENTILES), plots=plots)
    _write(path, page.encode("utf-8"))


def write_plots(directory: Path, runs: Sequence[RecordedRun]) -> None:
    """Write each plot as a PNG file.

    Raises:
        ConfigError: matplotlib is missing, or a file cannot be written.
    """
    for name, data in draw_plots(runs).items():
        _write(directory / f"{name}.png", data)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
