"""Whether an Envoy's routes lead each variant's requests to it: there, reached, and not taken.

What is found here makes the label wrong: a user is counted as the canary's and gets the baseline.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sidecar.extproc import leading, trees
from sidecar.extproc.bootstrap import candidates
from sidecar.extproc.findings import Finding
from sidecar.extproc.trees import at
from sidecar.rollout import Rollout
from sidecar.rollout.names import RESERVED_PREFIX
from sidecar.routing import Route

_PER_FILTER = "typed_per_filter_config"
# Envoys of Istio have these for every host that nobody declared: they tell nothing.
_MESH_CATCH_ALLS = {"allow_any", "block_all"}

Declared = Rollout | Route


def decided_upon(host: Any) -> bool:
    """Whether some route of a virtual host asks for a decision."""
    return any(map(_decided_upon, _routes_of(host)))


def _routes_of(host: Any) -> Iterator[Any]:
    return trees.objects(host.get("routes"))


def _decided_upon(route: Any) -> bool:
    headers = trees.objects(at(route, "match", "headers"))
    return any(str(one.get("name", "")).lower().startswith(RESERVED_PREFIX) for one in headers)


def judged(rollout: Declared, hosts: list[Any], clusters: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge whether each variant has a route to its cluster, in some of these virtual hosts."""
    header = f"{RESERVED_PREFIX}{rollout.name}"
    for variant in candidates(rollout):
        leading = [host for host in hosts if any(_leading(host, header, variant.name))]
        routes = [route for host in leading for route in _leading(host, header, variant.name)]
        where, what = f"rollout {rollout.name!r}", f"{header}: {variant.name}"
        if any(at(route, "route", "cluster_header") for route in routes):
            continue
        targets = {name for route in routes for name in _targets(route)}
        others = {name for host in leading for name in _unled(host)}
        wanted = variant.cluster or f"{rollout.name}-{variant.name}"
        if wanted not in targets and targets <= others:
            yield Finding(
                "no-route",
                where,
                f"no route leads {what} to cluster {wanted!r}",
                "add one before the default route, or set the variant's cluster in the rollout",
            )
        elif wanted not in targets and wanted != f"{rollout.name}-{variant.name}":
            yield Finding(
                "other-cluster",
                where,
                f"{what} is led to {listed(targets)}, the rollout names cluster {wanted!r}",
                "let the route and the variant's cluster agree",
            )
        for name in sorted((targets | others) - set(clusters)):
            yield Finding(
                "no-cluster",
                f"cluster {name!r}",
                f"is not there, and a route for {header} leads to it",
                "declare it",
            )


def reached(
    rollout: Declared, tables: list[Any], disabled: Mapping[str, bool]
) -> Iterator[Finding]:
    """Judge whether requests get to the filter, and from there to the variants' routes.

    `disabled` has our filters by name, each with whether it is off where no route enables it.
    """
    for variant in candidates(rollout):
        header = f"{RESERVED_PREFIX}{rollout.name}"
        for table in tables:
            hosts = list(trees.objects(at(table, "virtual_hosts")))
            leads = {id(host): list(_leading(host, header, variant.name)) for host in hosts}
            if any(leads.values()):
                yield from _strays(rollout, table, leads, f"{header}: {variant.name}")
            for host in (host for host in hosts if leads[id(host)]):
                yield from _unasked(rollout, table, host, disabled)
                yield from _shadowed(rollout, host, leads[id(host)], variant.name)


def _strays(
    rollout: Declared, table: Any, leads: Mapping[int, list[Any]], what: str
) -> Iterator[Finding]:
    for name in rollout.hosts:
        host = leading.virtual_host(table, name.replace("*", "canary-probe", 1))
        if host is None or leads[id(host)] or host.get("name") in _MESH_CATCH_ALLS:
            continue
        yield Finding(
            "host-elsewhere",
            f"virtual host {host.get('name')!r}",
            f"takes requests for {name!r}, and has no route for {what}",
            "add the rollout's routes there, or take the host out of its domains",
        )


def _shadowed(rollout: Declared, host: Any, leads: list[Any], variant: str) -> Iterator[Finding]:
    header = f"{RESERVED_PREFIX}{rollout.name}"
    asked = [leading.Request(path, header, variant) for path in _paths(rollout)]
    takers = [leading.obstacle(_routes_of(host), leads, one) for one in asked]
    led = {name for route in leads for name in _targets(route)}
    if any(taker is None or led & set(_targets(taker)) for taker in takers):
        return
    where, what = f"virtual host {host.get('name')!r}", f"{header}: {variant}"
    if any(leading.fits_path(route, one.path) for route in leads for one in asked):
        yield Finding(
            "route-shadowed",
            where,
            f"an earlier route ({listed(_targets(takers[0]))}) takes what the one for {what} "
            "should",
            f"put the routes that match {RESERVED_PREFIX} headers before all others",
        )
    else:
        yield Finding(
            "path-elsewhere",
            where,
            f"the route for {what} is for other paths than the rollout's, {asked[0].path!r}",
            "let both agree: the route's path and the rollout's match.pathPrefix",
        )


def _paths(rollout: Declared) -> tuple[str, str]:
    """Two paths that a rollout speaks for: its prefix, and one below."""
    return rollout.path_prefix or "/", f"{rollout.path_prefix.rstrip('/')}/canary-probe"


def _unasked(
    rollout: Declared, table: Any, host: Any, disabled: Mapping[str, bool]
) -> Iterator[Finding]:
    """Judge the route before the decision: what it says of a filter holds."""
    for name, off in disabled.items():
        for path in _paths(rollout):
            route = leading.first(_routes_of(host), leading.Request(path))
            said = [at(one, _PER_FILTER, name) for one in (route, host, table)]
            if not next((_is_off(one) for one in said if one), off):
                break
        else:
            yield Finding(
                "filter-disabled",
                f"virtual host {host.get('name')!r}",
                f"the filter {name!r} is disabled for what it routes: the sidecar is not asked",
                f"remove disabled: true (in the filter, or in {_PER_FILTER} of the route, its "
                "virtual host or the route configuration)",
            )


def _is_off(config: Any) -> bool:
    """Whether a FilterConfig or an ExtProcPerRoute disables its filter."""
    return bool(config.get("disabled") or at(config, "config", "disabled"))


def _leading(host: Any, header: str, variant: str) -> Iterator[Any]:
    """List a virtual host's routes for a variant."""
    for route in _routes_of(host):
        for one in trees.objects(at(route, "match", "headers")):
            matcher = one.get("string_match") or {"exact": one.get("exact_match")}
            named = str(one.get("name", "")).lower() == header
            if named and not one.get("invert_match") and trees.matches(matcher, variant):
                yield route


def _unled(host: Any) -> Iterator[str]:
    """List the clusters that requests reach without any decision."""
    for route in _routes_of(host):
        if not _decided_upon(route):
            yield from _targets(route)


def _targets(route: Any) -> list[str]:
    action = at(route, "route")
    weighted = trees.objects(at(action, "weighted_clusters", "clusters"))
    names = [action.get("cluster"), *(one.get("name") for one in weighted)]
    return [str(name) for name in names if name]


def listed(names: Iterable[str]) -> str:
    """Name several things in a sentence."""
    return ", ".join(repr(name) for name in sorted(names))
