"""The small kustomize does what the real one does here, and refuses the rest."""

import pytest
import yaml
from unit.deploy import kustomize

POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {asks: "yes"}}
spec:
  template:
    spec:
      initContainers: [{name: mine, image: mine:1}]
      containers: [{name: web, env: [{name: A, value: "1"}, {name: B, value: "2"}]}]
"""
PATCH = """
kind: Deployment
metadata: {name: any}
spec:
  template:
    spec:
      initContainers: [{name: added}]
      containers: [{name: web, env: [{name: B, value: "3"}]}]
"""


def folder(path, **told):
    path.mkdir(parents=True, exist_ok=True)
    (path / "kustomization.yaml").write_text(yaml.safe_dump(told))
    (path / "pod.yaml").write_text(POD)
    return path


def patched(path, patch, **target):
    one = {"target": {"kind": "Deployment", **target}, "patch": patch}
    [made] = kustomize.build(folder(path, resources=["pod.yaml"], patches=[one]))
    return made


def test_a_merge_knows_the_items_of_a_pod_by_their_names(tmp_path):
    made = patched(tmp_path, PATCH, labelSelector="asks=yes")
    spec = made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == "web"
    assert [one["name"] for one in spec["initContainers"]] == ["added", "mine"]
    [web] = spec["containers"]
    assert web["env"] == [{"name": "B", "value": "3"}, {"name": "A", "value": "1"}]


def test_operations_change_one_place_and_their_tests_hold(tmp_path):
    place = "/spec/template/spec/containers/0"
    made = patched(
        tmp_path,
        yaml.safe_dump(
            [
                {"op": "test", "path": f"{place}/name", "value": "web"},
                {"op": "replace", "path": f"{place}/env/0/value", "value": "9"},
                {"op": "add", "path": f"{place}/env/-", "value": {"name": "C"}},
                {"op": "remove", "path": f"{place}/env/1"},
            ]
        ),
    )
    [web] = made["spec"]["template"]["spec"]["containers"]
    assert web["env"] == [{"name": "A", "value": "9"}, {"name": "C"}]


@pytest.mark.parametrize(
    "told",
    [
        {"resources": ["pod.yaml"], "namePrefix": "x-"},
        {"resources": ["../outside.yaml"]},
        {"configMapGenerator": [{"name": "x", "files": ["pod.yaml"]}]},
        {"patches": [{"target": {"kind": "Deployment"}, "patch": PATCH}]},
        {
            "resources": ["pod.yaml"],
            "patches": [
                {
                    "target": {"kind": "Deployment"},
                    "patch": '[{"op": "test", "path": "/kind", "value": "Job"}]',
                }
            ],
        },
    ],
    ids=["unknown", "outside", "hashed", "no-target", "failed-test"],
)
def test_what_the_real_one_refuses_or_this_one_does_not_know_is_an_error(tmp_path, told):
    (tmp_path / "outside.yaml").write_text(POD)
    with pytest.raises(kustomize.KustomizeError):
        kustomize.build(folder(tmp_path / "here", **told))
