"""What the doctor reads in Envoy's config dump and statistics, in every shape a dump has."""

import copy

import pytest
from misfitting import FITTING, SPOILERS, declared, ext_proc, fitting_config, manager

from sidecar.extproc import doctor
from sidecar.extproc.fitting import Use

ADMIN = "type.googleapis.com/envoy.admin.v3."
COUNTERS = {"stream_msgs_sent": 9, "stream_msgs_received": 9, "streams_started": 9}


def static_dump(config):
    """As an Envoy with a static bootstrap gives it."""
    resources = config["static_resources"]
    routes = [{"route_config": manager(config).get("route_config")}]
    return {
        "configs": [
            {"@type": f"{ADMIN}BootstrapConfigDump", "bootstrap": config},
            {
                "@type": f"{ADMIN}ClustersConfigDump",
                "static_clusters": [{"cluster": one} for one in resources["clusters"]],
            },
            {
                "@type": f"{ADMIN}ListenersConfigDump",
                "static_listeners": [{"listener": one} for one in resources["listeners"]],
            },
            {"@type": f"{ADMIN}RoutesConfigDump", "static_route_configs": routes},
        ]
    }


def mesh_dump(config):
    """As an Envoy of a mesh gives it: nothing static, routes by RDS, clusters by CDS."""
    config = copy.deepcopy(config)
    resources = config["static_resources"]
    routes = manager(config).pop("route_config")
    manager(config)["rds"] = {"config_source": {"ads": {}}, "route_config_name": "80"}
    listeners = [
        {"name": "outbound", "active_state": {"version_info": "7", "listener": one}}
        for one in resources["listeners"]
    ]
    return {
        "configs": [
            {"@type": f"{ADMIN}BootstrapConfigDump", "bootstrap": {"node": {"id": "sidecar~1"}}},
            {
                "@type": f"{ADMIN}ClustersConfigDump",
                "static_clusters": [{"cluster": {"name": "xds-grpc"}}],
                "dynamic_active_clusters": [{"cluster": one} for one in resources["clusters"]],
            },
            {"@type": f"{ADMIN}ListenersConfigDump", "dynamic_listeners": listeners},
            {"@type": f"{ADMIN}ScopedRoutesConfigDump"},
            {
                "@type": f"{ADMIN}RoutesConfigDump",
                "static_route_configs": [{"route_config": {"name": "inbound"}}],
                "dynamic_route_configs": [
                    {"version_info": "7", "route_config": {**routes, "name": "80"}},
                    {"version_info": "7", "route_config": {"name": "15010"}},
                ],
            },
        ]
    }


def stats(counters=COUNTERS, filter_name="http.ingress.ext_proc.canary"):
    values = [{"name": f"{filter_name}.{name}", "value": n} for name, n in counters.items()]
    return {"stats": [*values, {"histograms": {"supported_quantiles": [50.0]}}]}


def ids(dump, counted=None, use=Use(), rollouts=None):  # noqa: B008 - frozen
    found = doctor.examine(dump, counted or stats(), rollouts or declared(), use)
    assert all(one.where and one.message and one.remedy for one in found)
    return [one.id for one in found]


SHAPES = pytest.mark.parametrize("shape", [static_dump, mesh_dump])


@SHAPES
@pytest.mark.parametrize("vary", [lambda _: None, *FITTING])
def test_what_fits_has_no_findings(shape, vary):
    config = fitting_config()
    vary(config)
    assert ids(shape(config)) == []


@SHAPES
@pytest.mark.parametrize(("spoil", "expected"), SPOILERS)
def test_each_misfit_is_found_in_a_dump_as_in_a_file(shape, spoil, expected):
    config = fitting_config()
    spoil(config)
    assert ids(shape(config)) == expected


def test_a_filter_by_extension_discovery_is_read():
    dump = mesh_dump(fitting_config())
    listener = dump["configs"][2]["dynamic_listeners"][0]["active_state"]["listener"]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    typed = filters[0].pop("typed_config")
    filters[0]["config_discovery"] = {"config_source": {"ads": {}}}
    assert ids(dump) == ["no-filter"]
    one = {"ecds_filter": {"name": filters[0]["name"], "typed_config": typed}}
    dump["configs"].append({"@type": f"{ADMIN}EcdsConfigDump", "ecds_filters": [one]})
    assert ids(dump) == []
    typed["route_cache_action"] = "RETAIN"
    assert ids(dump) == ["route-kept"]


def test_scoped_routes_are_looked_for_among_all():
    dump = mesh_dump(fitting_config())
    listener = dump["configs"][2]["dynamic_listeners"][0]["active_state"]["listener"]
    typed = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del typed["rds"]
    typed["scoped_routes"] = {"name": "scopes"}
    assert ids(dump) == []


def test_a_route_configuration_that_never_came_leads_nowhere():
    dump = mesh_dump(fitting_config())
    del dump["configs"][4]["dynamic_route_configs"]
    assert ids(dump) == ["no-route"]


@pytest.mark.parametrize("kind", ["dynamic_listeners", "dynamic_route_configs"])
def test_an_update_that_envoy_rejected_is_named(kind):
    dump = mesh_dump(fitting_config())
    [entries] = [c[kind] for c in dump["configs"] if kind in c]
    failed = {"failed_configuration": {"name": entries[0].get("name")}, "details": "no: such field"}
    # A real Envoy says it twice, once without a name of its own.
    entries[0]["error_state"] = failed
    if kind == "dynamic_listeners":
        entries.append({"error_state": failed})
    assert ids(dump) == ["config-rejected"]


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([], ["no-sidecar-endpoint"]),
        (["UNHEALTHY"], ["no-sidecar-endpoint"]),
        (["UNHEALTHY", "HEALTHY"], []),
        (["HEALTHY"], []),
    ],
)
@pytest.mark.parametrize("kind", ["static_endpoint_configs", "dynamic_endpoint_configs"])
def test_the_sidecars_cluster_needs_an_endpoint(kind, endpoints, expected):
    sidecars = {
        "cluster_name": "canary_sidecar",
        "endpoints": [{"lb_endpoints": [{"health_status": one} for one in endpoints]}],
    }
    others = {"cluster_name": "chat-model-stable", "endpoints": []}
    dump = mesh_dump(fitting_config())
    known = [{"endpoint_config": one} for one in (sidecars, others)]
    dump["configs"].append({"@type": f"{ADMIN}EndpointsConfigDump", kind: known})
    assert ids(dump) == expected


@pytest.mark.parametrize("counter", ["streams_failed", "message_timeouts", "failure_mode_allowed"])
def test_failures_are_told_with_their_numbers(counter):
    dump, counted = static_dump(fitting_config()), stats({**COUNTERS, counter: 3})
    [found] = doctor.examine(dump, counted, declared(), Use())
    assert (found.id, found.severity) == ("decisions-failed", "warning")
    assert f"{counter} 3, of 9 since" in found.message


@pytest.mark.parametrize(
    ("counter", "expected"),
    [
        ("clear_route_cache_ignored", "route-clear-ignored"),
        ("rejected_header_mutations", "mutations-rejected"),
    ],
)
def test_what_envoy_ignored_is_an_error(counter, expected):
    [found] = doctor.examine(
        static_dump(fitting_config()), stats({**COUNTERS, counter: 1}), declared(), Use()
    )
    assert (found.id, found.severity) == (expected, "error")


# Five requests each, as a real Envoy 1.40 counted them.
SILENT = {"stream_msgs_sent": 5, "streams_started": 5, "server_half_closed": 5}
LOUD = {"stream_msgs_sent": 5, "streams_started": 5, "streams_failed": 5, "server_half_closed": 10}
LATE = {"stream_msgs_sent": 5, "streams_started": 5, "message_timeouts": 5}
GONE = {"stream_msgs_sent": 5, "streams_started": 5}


def summed(*counts):
    names = {name for one in counts for name in one}
    return {name: sum(one.get(name, 0) for one in counts) for name in names}


@pytest.mark.parametrize(
    ("counts", "silent"),
    [
        ([SILENT], 5),
        ([LOUD, {"failure_mode_allowed": 5}], 0),
        ([LOUD, {"server_half_closed": -5}], 0),
        ([LATE, {"failure_mode_allowed": 5}], 0),
        ([LATE], 0),
        ([GONE], 0),
        ([COUNTERS], 0),
        ([SILENT, LOUD, LATE, GONE, {"failure_mode_allowed": 10}], 5),
        ([LOUD, LATE, GONE, {"failure_mode_allowed": 10}], 0),
    ],
)
def test_only_decisions_closed_without_an_answer_are_silent_failures(counts, silent):
    found = doctor.examine(static_dump(fitting_config()), stats(summed(*counts)), declared(), Use())
    told = [one.message for one in found if one.id == "silent-failures"]
    assert [message.startswith(f"{silent} decisions") for message in told] == [True] * bool(silent)


def test_another_processors_failures_are_not_ours():
    others = stats({"streams_failed": 3}, "http.ingress.ext_proc.waf")
    ours = stats()
    both = {"stats": [*ours["stats"], *others["stats"]]}
    assert ids(static_dump(fitting_config()), both) == []


def test_a_filter_without_a_stat_prefix_is_found_in_the_statistics():
    config = fitting_config()
    del ext_proc(config)["stat_prefix"]
    counted = stats({**COUNTERS, "streams_failed": 1}, "http.outbound_0.0.0.0_80;.ext_proc")
    assert ids(static_dump(config), counted) == ["decisions-failed"]


def test_statistics_that_a_mesh_filters_out_are_missed():
    assert ids(mesh_dump(fitting_config()), {"stats": []}) == ["stats-hidden"]


@pytest.mark.parametrize("dump", [None, [], {}, {"configs": [1, {"static_listeners": None}]}])
@pytest.mark.parametrize("counted", [None, {}, {"stats": [1, {"name": 2}]}])
def test_any_answer_is_judged_without_falling_over(dump, counted):
    found = doctor.examine(dump, counted, declared(), Use())
    assert [one.id for one in found] == ["no-filter"]
