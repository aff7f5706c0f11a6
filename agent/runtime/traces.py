"""OpenTelemetry traces: a span for each call, a tree for each turn, sent by a thread of its own.

Where the spans go is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``).
This is the only module that imports OpenTelemetry, and only where ``telemetry.traces`` is on.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.extras import install
from agent.runtime.call_trace import CallTrace
from agent.runtime.span_tree import OWN, Attribute, Span, SpanTree, TracedEngines

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

log = logging.getLogger("onebreath.traces")

CLOSE_SECONDS = 2.0
"""Seconds for the last spans when a server ends."""
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def check(settings: Settings) -> None:
    """Check that calls can be traced, if they are to be.

    Raises:
        ConfigError: as `open_traces`.
    """
    if (traces := open_traces(settings)) is not None:
        traces.close()


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package above it is there
        return False


def _version() -> str:
    try:
        return importlib.metadata.version(OWN)
    except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
        return ""


def open_traces(settings: Settings) -> Traces | None:
    """Begin to trace the calls of a server; None where the settings do not ask for it.

    Raises:
        ConfigError: a package is missing, or a variable of OpenTelemetry has a bad value.
    """
    if not settings.telemetry.traces:
        return None
    if not all(map(_installed, PACKAGES)):
        raise ConfigError(f"telemetry.traces needs OpenTelemetry; install it: {install('otel')}")
    try:
        provider = _exporting_provider()
    except ValueError as error:
        raise ConfigError(f"a variable of OpenTelemetry (OTEL_...) is wrong: {error}") from None
    # Both tell of each lost batch, with addresses; `exporting_quietly` tells of the first.
    for loud in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(loud).setLevel(logging.CRITICAL)
    return Traces(provider, TracedEngines.of(settings))


def _exporting_provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = make_provider()
    provider.add_span_processor(BatchSpanProcessor(exporting_quietly(OTLPSpanExporter())))
    return provider


def make_provider() -> TracerProvider:
    """A provider that names this program, unless the environment names it."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider

    own = {"service.name": OWN, "service.version": _version()}
    named = OTELResourceDetector().detect().attributes
    unnamed: dict[str, str | int] = {key: own[key] for key in own if key not in named}
    resource = Resource.create({**unnamed, "process.pid": os.getpid()})
    return TracerProvider(resource=resource, shutdown_on_exit=False)


def exporting_quietly(exporter: SpanExporter) -> SpanExporter:
    """``exporter``, whose failures are logged once until it succeeds again."""
    from opentelemetry.sdk.trace import export

    class Quiet(export.SpanExporter):
        """Passes spans on."""

        failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            """Send spans; those that cannot be sent are lost."""
            try:
                result = exporter.export(spans)
            except Exception:  # of whatever library it uses; the next batch is tried again
                result = export.SpanExportResult.FAILURE
            self._tell(result is not export.SpanExportResult.SUCCESS)
            return result

        def _tell(self, failed: bool) -> None:
            if failed and not self.failing:
                log.warning(
                    "traces cannot be sent and are dropped until they can; "
                    "OTEL_EXPORTER_OTLP_ENDPOINT says where they go"
                )
            elif self.failing and not failed:
                log.warning("traces are sent again")
            self.failing = failed

        def shutdown(self) -> None:
            """Give up what is being sent."""
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            """Nothing waits here."""
            return exporter.force_flush(timeout_millis)

    return Quiet()


class Traces:
    """Traces the calls of one process.

    Args:
        provider: where finished spans go.
        engines: the engines as spans name them.
    """

    def __init__(self, provider: TracerProvider, engines: TracedEngines) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(OWN, _version())
        self._engines = engines

    def call(self, call_id: str, kind: str, now: float, *, words: bool) -> CallTrace:
        """Begin the trace of a call at monotonic second ``now``.

        Args:
            kind: the transport or telephony provider.
            words: whether its spans hold what was said.
        """
        about = {"gen_ai.conversation.id": call_id, "onebreath.call.kind": kind}
        span = _CallSpan(self._tracer, about, now)
        return CallTrace(span, SpanTree(call_id, self._engines, words))

    def close(self) -> None:
        """Send what waits, within `CLOSE_SECONDS`; blocks so long."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _CallSpan:
    """The span of a call, under way, and the spans below it.

    Args:
        now: monotonic second of its beginning, from which the clock of all its spans counts.
    """

    def __init__(
        self,
        tracer: Tracer,
        about: Mapping[str, Attribute],
        now: float,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._tracer = tracer
        self._zero, self._wall = now, wall()
        self._span = tracer.start_span("call", start_time=self._wall, attributes=dict(about))

    def write(self, span: Span) -> None:
        """Write a finished span, and those below it, below the span of the call."""
        self._write(span, self._span)

    def end(self, now: float, outcome: str, code: int, *, failed: bool) -> None:
        """End the span of the call at monotonic second ``now``."""
        self._span.set_attribute("onebreath.call.outcome", outcome)
        self._span.set_attribute("onebreath.call.close_code", code)
        if failed:
            self._fail(self._span, outcome)
        self._span.end(self._at(now))

    def _write(self, span: Span, parent: OtelSpan) -> None:
        kind = self._trace.SpanKind.CLIENT if span.client else self._trace.SpanKind.INTERNAL
        written = self._tracer.start_span(
            span.name,
            self._trace.set_span_in_context(parent),
            kind,
            dict(span.attributes),
            start_time=self._at(span.start),
        )
        for child in span.children:
            self._write(child, written)
        if span.error:
            self._fail(written, span.error)
        written.end(self._at(span.end))

    def _fail(self, span: OtelSpan, error: str) -> None:
        span.set_attribute("error.type", error)
        span.set_status(self._trace.StatusCode.ERROR)

    def _at(self, second: float) -> int:
        """Nanoseconds of the epoch at a monotonic second."""
        return self._wall + round(1e9 * (second - self._zero))
