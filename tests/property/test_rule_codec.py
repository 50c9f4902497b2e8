"""A route with rules of every kind survives the wire, and equal routes are equal bytes."""

from hypothesis import HealthCheck, given, settings
from ruled import ruled

from sidecar.control import codec


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(ruled())
def test_what_is_decoded_is_what_was_encoded(route):
    data = codec.encode(route)
    assert codec.decode(route.name, data) == route
    assert codec.encode(codec.decode(route.name, data)) == data
