import json
import logging
import sys

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from sidecar.telemetry.logs import Json, KeyValue


def record(message="table in force", **extra):
    made = logging.makeLogRecord({"msg": message, "levelno": 20, "levelname": "INFO", **extra})
    made.name = "sidecar.test"
    return made


@pytest.fixture
def in_a_trace():
    span = NonRecordingSpan(SpanContext(10, 11, is_remote=True))
    token = context.attach(trace.set_span_in_context(span))
    yield
    context.detach(token)


def test_a_line_for_people_quotes_what_needs_it():
    line = KeyValue().format(record(version="abc", error='a "b"\nc', empty="", n=3))
    assert line.endswith("""info table in force version=abc error="a 'b' |c" empty="" n=3""")


def test_a_line_for_machines_is_one_json_object_whatever_the_values():
    line = Json().format(record(error=ValueError("a\nb"), n=3, none=None))
    assert "\n" not in line
    said = json.loads(line)
    assert said["timestamp"].endswith("+00:00")
    del said["timestamp"]
    assert said == {
        "severity": "INFO",
        "message": "table in force",
        "logger": "sidecar.test",
        "error": "a\nb",
        "n": 3,
        "none": None,
    }


def test_a_failure_brings_its_traceback():
    try:
        int("why")
    except ValueError:
        failed = record(exc_info=sys.exc_info())
    assert KeyValue().format(failed).endswith("'why'")
    assert json.loads(Json().format(failed))["exception"].endswith("'why'")


@pytest.mark.usefixtures("in_a_trace")
def test_a_line_within_a_trace_names_it():
    assert KeyValue().format(record()).endswith(f"trace_id={10:032x} span_id={11:016x}")
    assert json.loads(Json().format(record()))["trace_id"] == f"{10:032x}"


def test_a_line_outside_names_none():
    assert "trace_id" not in KeyValue().format(record())
    assert "trace_id" not in Json().format(record())
