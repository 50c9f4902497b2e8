"""The part of kustomize that deploy/ uses, so that what the tests judge is what people apply.

Resources, components, a namespace, ConfigMaps from files, and patches: JSON 6902, or strategic
merge with the merge keys of a pod template (what a patch names stands first, as kustomize does).
Anything else is an error, not a silent difference; `published.py` compares all of deploy/ with
the real kustomize.
"""

import copy
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
KNOWN = {
    *("apiVersion", "kind", "resources", "components", "namespace"),
    *("patches", "configMapGenerator", "generatorOptions"),
}
CLUSTER_WIDE = {"Namespace", "GatewayClass"}
# By which field the items of a list are the same item, in a pod template.
MERGE_KEYS = {
    **dict.fromkeys(("containers", "initContainers", "volumes", "env"), "name"),
    "volumeMounts": "mountPath",
}


class KustomizeError(Exception):
    """A kustomization that this small part of kustomize cannot build."""


def build(folder: Path) -> list[Json]:
    """Return the objects that `kubectl kustomize FOLDER` prints, in the order of declaration."""
    return _build(folder.resolve(), [])


def _build(folder: Path, above: list[Json]) -> list[Json]:
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := told.keys() - KNOWN:
        raise KustomizeError(f"{folder}: not known here: {', '.join(sorted(unknown))}")
    objects = [*above]
    for name in told.get("resources", []):
        path = (folder / name).resolve()
        objects += _build(path, []) if path.is_dir() else _inside(folder, path)
    objects += [_config_map(folder, one, told) for one in told.get("configMapGenerator", [])]
    for name in told.get("components", []):
        objects = _build((folder / name).resolve(), objects)
    for patch in told.get("patches", []):
        _patch(objects, patch, folder)
    if "namespace" in told:
        for one in objects:
            if one["kind"] not in CLUSTER_WIDE:
                one["metadata"]["namespace"] = told["namespace"]
    return objects


def _inside(folder: Path, path: Path) -> list[Json]:
    if folder not in path.parents:
        raise KustomizeError(f"{path} is not below {folder}: kustomize refuses it")
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _config_map(folder: Path, told: Json, kustomization: Json) -> Json:
    if not kustomization.get("generatorOptions", {}).get("disableNameSuffixHash"):
        raise KustomizeError(f"{folder}: generated names with a hash are not known here")
    files = [(folder / name).resolve() for name in told["files"]]
    for path in files:
        _inside(folder, path)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": told["name"]},
        "data": {path.name: path.read_text() for path in files},
    }


def _patch(objects: list[Json], patch: Json, folder: Path) -> None:
    targets = [one for one in objects if _is_target(one, patch["target"])]
    if not targets:
        raise KustomizeError(f"{folder}: a patch has no target: {patch['target']}")
    text = (folder / patch["path"]).read_text() if "path" in patch else patch["patch"]
    change = yaml.safe_load(text)
    for one in targets:
        if isinstance(change, list):
            _operations(one, change)
        else:
            name = one["metadata"]["name"]
            _merge(one, change)
            one["metadata"]["name"] = name


def _is_target(one: Json, target: Json) -> bool:
    labels = one["metadata"].get("labels", {})
    wanted = dict(
        pair.split("=", 1) for pair in filter(None, target.get("labelSelector", "").split(","))
    )
    return (
        one["kind"] == target.get("kind", one["kind"])
        and one["metadata"]["name"] == target.get("name", one["metadata"]["name"])
        and wanted.items() <= labels.items()
    )


def _operations(one: Json, operations: list[Json]) -> None:
    for told in operations:
        *way, last = [
            part.replace("~1", "/").replace("~0", "~") for part in told["path"].split("/")[1:]
        ]
        holder: Any = one
        for part in way:
            holder = holder[int(part) if isinstance(holder, list) else part]
        key: Any = int(last) if isinstance(holder, list) and last != "-" else last
        _operate(holder, key, told)


def _operate(holder: Any, key: Any, told: Json) -> None:
    operation, value = told["op"], copy.deepcopy(told.get("value"))
    if operation == "test":
        if holder[key] != value:
            raise KustomizeError(f"test failed at {told['path']}: {holder[key]!r}")
    elif operation == "replace":
        _ = holder[key]  # a place that is not there is an error
        holder[key] = value
    elif operation == "remove":
        del holder[key]
    elif operation == "add" and isinstance(holder, list):
        holder.insert(len(holder) if key == "-" else key, value)
    elif operation == "add":
        holder[key] = value
    else:
        raise KustomizeError(f"operation {operation!r} is not known here")


def _merge(into: Json, change: Json) -> None:
    for key, value in change.items():
        there = into.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            _merge(there, value)
        elif isinstance(there, list) and key in MERGE_KEYS:
            into[key] = _merged_list(there, value, MERGE_KEYS[key])
        else:
            into[key] = copy.deepcopy(value)


def _merged_list(there: list[Json], changes: list[Json], by: str) -> list[Json]:
    known = {one[by]: one for one in there}
    first = []
    for one in changes:
        merged = known.pop(one[by], {})
        _merge(merged, one)
        first.append(merged)
    return [*first, *known.values()]
