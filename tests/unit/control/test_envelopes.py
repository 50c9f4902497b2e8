"""Our narrow descriptions of Envoy's messages, against envoy-data-plane's whole ones."""

from envoy_data_plane.envoy.config.core.v3 import ControlPlane, Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    Resource,
)
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.google.rpc import Status
from hypothesis import given
from hypothesis import strategies as st

from sidecar.control import envelopes
from sidecar.control.envelopes import TYPE_URL, Request

TEXTS = st.text(max_size=8)
REQUESTS = st.builds(
    Request,
    node=TEXTS,
    subscribe=st.lists(TEXTS, max_size=3).map(tuple),
    held=st.dictionaries(TEXTS, TEXTS, max_size=3),
    nonce=TEXTS,
    refusal=st.none() | st.text(min_size=1, max_size=8),
)


def whole(request):
    """The same as Envoy's message."""
    refused = request.refusal is not None
    return DeltaDiscoveryRequest(
        type_url=request.type_url,
        node=Node(id=request.node, user_agent_name="canary") if request.node else None,
        resource_names_subscribe=list(request.subscribe),
        initial_resource_versions=dict(request.held),
        response_nonce=request.nonce,
        error_detail=Status(code=3, message=request.refusal) if refused else None,
    )


@given(REQUESTS)
def test_a_request_is_envoys(request):
    assert DeltaDiscoveryRequest.parse(envelopes.pack_request(request)) == whole(request)
    assert envelopes.unpack_request(bytes(whole(request))) == request


@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS, st.binary(max_size=9)), max_size=3))
def test_a_response_and_its_pieces_are_envoys(nonce, version, resources):
    pieces = [envelopes.pack_resource(*one) for one in resources]
    sent = envelopes.pack_head(nonce, version, [nonce, version]) + b"".join(pieces)
    assert DeltaDiscoveryResponse.parse(sent) == DeltaDiscoveryResponse(
        type_url=TYPE_URL,
        nonce=nonce,
        system_version_info=version,
        removed_resources=[nonce, version],
        control_plane=ControlPlane(identifier="canary"),
        resources=[
            Resource(name=name, version=held, resource=Any(type_url=TYPE_URL, value=data))
            for name, held, data in resources
        ],
    )


def test_fields_that_others_send_and_we_do_not_read_are_passed_over():
    asked = DeltaDiscoveryRequest(
        type_url=TYPE_URL,
        node=Node(id="n", cluster="c", user_agent_version="1"),
        resource_names_unsubscribe=["gone"],
        error_detail=Status(code=7, details=[Any(type_url="x/y")]),
    )
    assert envelopes.unpack_request(bytes(asked)) == Request(node="n", refusal="code 7")
