"""Holds deploy/ against what others publish: schemas, Envoy's older definitions, kustomize.

    python tests/unit/deploy/published.py

prints one line per object and schema, and exits 1 if any does not fit. It needs Go (whose module
proxy carries all of it), kubectl and some minutes, so it is no part of `make test`; run it when
deploy/ changes. Unknown fields are errors, as for `kubectl apply --validate=strict`; the rules
that schemas write in CEL are not evaluated.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from unit.deploy import kustomize

Json = dict[str, Any]
DEPLOY = Path(__file__).parents[3] / "deploy"
FOLDERS = (
    "istio",
    "envoy-gateway",
    "kubernetes/base",
    "kubernetes/overlays/istio",
    "kubernetes/overlays/istio-unix-socket",
)
ISTIO = "kubernetes/customresourcedefinitions.gen.yaml"
ENVOY_GATEWAY = "charts/gateway-crds-helm/templates/generated/*.yaml"
# The oldest is the first that knows HeaderMutation.remove_on_match.
ENVOYS = ("v1.36.0", "v1.37.0", "v1.38.0", "v1.39.0", "v1.40.0")
MODULES = {
    "istio.io/api@v1.24.2": ISTIO,
    "istio.io/api@v1.31.1": ISTIO,
    "sigs.k8s.io/gateway-api@v1.6.0": "config/crd/standard/*.yaml",
    "github.com/envoyproxy/gateway@v1.7.0": ENVOY_GATEWAY,
    "github.com/envoyproxy/gateway@v1.9.1": ENVOY_GATEWAY,
}


def strict(schema: Any) -> Any:
    """Make a CRD's OpenAPI schema refuse the fields that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        name: value if name in {"enum", "required", "default"} else strict(value)
        for name, value in schema.items()
    }
    opens = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not opens:
        closed["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed


def schemas(files: list[Path]) -> dict[tuple[str, str], Json]:
    """Return the strict schema of every (apiVersion, kind) that CRDs in `files` define."""
    found = {}
    for path in files:
        # Charts wrap their CRDs in a line or two of template.
        text = "\n".join(line for line in path.read_text().splitlines() if "{{" not in line)
        for crd in yaml.safe_load_all(text):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
                    named = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                    found[named] = schema
    return found


def mistakes(one: Json, schema: Json) -> list[str]:
    """List what does not fit."""
    judge = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in judge.iter_errors(one)]


def _against_schemas(work: Path) -> Iterator[tuple[str, list[str]]]:
    for module, pattern in MODULES.items():
        known = schemas(sorted(_download(module, work).glob(pattern)))
        if not known:
            yield module, ["no schema found"]
        for folder in FOLDERS:
            for one in kustomize.build(DEPLOY / folder):
                if schema := known.get((one["apiVersion"], one["kind"])):
                    yield f"{module}: {folder}: {_name(one)}", mistakes(one, schema)


def _against_envoys(work: Path) -> Iterator[tuple[str, list[str]]]:
    (work / "main.go").write_text(Path(__file__).with_suffix(".go").read_text())
    for version in ENVOYS:
        api = f"github.com/envoyproxy/go-control-plane/envoy@{version}"
        (work / "go.mod").write_text("module published\n")
        subprocess.run(["go", "get", api], cwd=work, capture_output=True, check=True)
        subprocess.run(["go", "mod", "tidy"], cwd=work, capture_output=True, check=True)
        for folder in FOLDERS:
            for one in kustomize.build(DEPLOY / folder):
                if one["kind"] == "EnvoyFilter":
                    yield f"Envoy {version}: {folder}", _parsed_by_go(one, work)


def _parsed_by_go(envoy_filter: Json, work: Path) -> list[str]:
    values = [
        {"applyTo": one["applyTo"], "value": one["patch"]["value"]}
        for one in envoy_filter["spec"]["configPatches"]
    ]
    done = subprocess.run(
        ["go", "run", "."],
        cwd=work,
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def _against_kustomize() -> Iterator[tuple[str, list[str]]]:
    for folder in FOLDERS:
        command = ["kubectl", "kustomize", str(DEPLOY / folder)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        theirs = {_name(one): one for one in yaml.safe_load_all(printed)}
        ours = {_name(one): one for one in kustomize.build(DEPLOY / folder)}
        differ = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        yield f"kubectl kustomize: {folder}", differ


def _name(one: Json) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def _download(module: str, work: Path) -> Path:
    (work / "go.mod").write_text("module published\n")
    command = ["go", "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def main() -> int:
    """Check everything; return the exit status."""
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for what, wrong in itertools.chain(
            _against_schemas(folder), _against_kustomize(), _against_envoys(folder)
        ):
            sys.stdout.write(f"{what}: {'; '.join(wrong) or 'fits'}\n")
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
