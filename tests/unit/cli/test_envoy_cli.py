"""What the rollouts look at and an Envoy does not forward, on the command line."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli import canary
from sidecar.errors import CanaryError

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
LAUNCH = str(EXAMPLES / "launches" / "llm-upgrade.yaml")
UPSTREAMS = [f"--upstream=llm-upgrade-{name}=127.0.0.1:8081" for name in ("llm-8b", "llm-70b")]


def run(*words):
    return CliRunner().invoke(canary, words)


@pytest.fixture
def made(tmp_path):
    """The configuration for the launch, with the example's filters."""
    result = run("envoy", LAUNCH, *UPSTREAMS, "--filters", str(EXAMPLES / "jwt_authn.yaml"))
    assert result.exit_code == 0, result.output
    path = tmp_path / "envoy.yaml"
    path.write_text(result.stdout)
    return path


def test_what_is_made_forwards_what_the_launch_looks_at(made):
    assert run("validate", LAUNCH, "--envoy", str(made)).exit_code == 0
    assert run("envoy", LAUNCH, "--check", str(made)).output == ""
    assert "--filters" in made.read_text().splitlines()[1]


def test_validate_refuses_an_envoy_that_hides_a_claim(made):
    tree = yaml.safe_load(made.read_text())
    manager = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    filters = manager["typed_config"]["http_filters"]
    del filters[1]["typed_config"]["metadata_options"]["forwarding_namespaces"]
    made.write_text(yaml.safe_dump(tree))
    result = run("validate", LAUNCH, "--envoy", str(made))
    assert result.exit_code == 1
    assert "no metadata of 'envoy.filters.http.jwt_authn' reaches the sidecar" in result.output
    assert "rollout 'llm-upgrade' looks there" in result.output
    assert "canary: 1 mistake\n" in result.stderr


@pytest.mark.parametrize("text", ["{}", "[1]", "a: [", "text"])
def test_filters_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "filters.yaml").write_text(text)
    words = ["envoy", LAUNCH, *UPSTREAMS, "--filters", str(tmp_path / "filters.yaml")]
    error = run(*words).exception
    assert isinstance(error, CanaryError)
    assert error.remedy
