"""Traces by OpenTelemetry, where the operator has a collector. FastAPI makes a span of each request; this
says where they go. Nothing of it is imported unless it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import oriel

__all__ = ["traced"]


@contextmanager
def traced(endpoint: str) -> Iterator[None]:
    """Send spans to the collector at `endpoint` (OTLP over HTTP) until the block ends; "": none are made.

    They are sent in the background; a collector that is away costs nothing but its spans.
    """
    if not endpoint:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = Resource.create({"service.name": "oriel", "service.version": oriel.__version__})
    provider = TracerProvider(resource=about)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
