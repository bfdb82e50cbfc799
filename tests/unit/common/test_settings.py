"""Settings: where a value comes from, what is allowed, and that secrets stay secret."""

import json
import pickle
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgard.common.errors import SettingsError
from asgard.common.settings import DEFINITIONS, SERVICES_FILE, Secret, Settings, load_settings, redact_url


def load(environment: dict[str, str] | None = None, **flags: str) -> Settings:
    return load_settings(flags, environment={"HOME": "/nowhere", **(environment or {})})


def test_every_definition_is_a_field_and_the_other_way_round() -> None:
    assert [d.name for d in DEFINITIONS] == [f.name for f in fields(Settings) if f.name != "sources"]


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "asgard.toml"
    file.write_text('nessie_ref = "from_file"\nuser = "file"\nenvironment = "file"\n')
    environment = {"NESSIE_REF": "from_environment", "ASGARD_USER": "environment", "HOME": "/nowhere"}
    found = load_settings({"nessie_ref": "from_flag"}, environment=environment, config_file=file)
    assert (found.nessie_ref, found.user, found.environment, found.log_level) == (
        "from_flag",
        "environment",
        "file",
        "WARNING",
    )
    assert [found.sources[name] for name in ("nessie_ref", "user", "environment", "log_level")] == [
        "flag --set nessie_ref",
        "environment ASGARD_USER",
        f"file {file}",
        "default",
    ]


@pytest.mark.parametrize(
    "uri", ["http://n:19120", "http://n:19120/", "http://n:19120/api/v1", "http://n:19120/api/v2/"]
)
def test_nessie_uri_may_end_in_its_api(uri: str) -> None:
    assert load({"NESSIE_URI": uri}).nessie == "http://n:19120"


def test_own_variables_win_over_well_known_ones() -> None:
    found = load({"NESSIE_URI": "http://a", "ASGARD_NESSIE_URI": "http://b"})
    assert (found.nessie_uri, found.sources["nessie_uri"]) == ("http://b", "environment ASGARD_NESSIE_URI")


def test_a_bucket_is_a_warehouse() -> None:
    assert load({"S3_BUCKET": "my-lake"}).warehouse == "s3://my-lake/iceberg"
    assert load({"ASGARD_WAREHOUSE": "s3a://b/w"}).warehouse == "s3://b/w"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("ASGARD_LOG_LEVEL", "Info", "log_level", "INFO"),
        ("LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("ASGARD_SPARK_DRIVER_MEMORY", "2G", "spark_driver_memory", "2g"),
        ("ASGARD_MODEL_HOLD_GRACE", "7D", "model_hold_grace", "7d"),
        ("ASGARD_WAREHOUSE", "S3://b/W", "warehouse", "s3://b/W"),
        ("ASGARD_WAREHOUSE", "S3A://b/w", "warehouse", "s3://b/w"),
        ("ASGARD_WAREHOUSE", "FILE:///w/X", "warehouse", "file:///w/X"),
        ("NESSIE_URI", "HTTP://h:1/api/v2", "nessie_uri", "http://h:1"),
    ],
)
def test_letter_case_that_means_nothing(variable: str, text: str, name: str, value: str) -> None:
    assert getattr(load({variable: text}), name) == value


def test_services_of_the_project_folder_are_found(tmp_path: Path) -> None:
    services = {"services": {"nessie": {"url": "http://127.0.0.1:1"}, "redis": {"url": "redis://127.0.0.1:2/0"}}}
    (tmp_path / SERVICES_FILE).write_text(json.dumps(services))
    found = load(project_dir=str(tmp_path))
    assert found.nessie == "http://127.0.0.1:1"
    assert found.redis_url == Secret("redis://127.0.0.1:2/0")
    assert found.sources["nessie_uri"] == f"services of {tmp_path}"
    assert load({"NESSIE_URI": "http://other"}, project_dir=str(tmp_path)).nessie == "http://other"


def test_no_nessie_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No Nessie is set") as caught:
        _ = load(project_dir=str(tmp_path)).nessie
    assert "asgard up" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("NESSIE_URI", "nessie:19120", "http://... or https://..."),
        ("NESSIE_REF", "deadbeef", "a branch name"),
        ("S3_BUCKET", "s3://my-lake/x", "a bucket name"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR"),
        ("ASGARD_SPARK_DRIVER_MEMORY", "lots", "2g"),
        ("ASGARD_CONFLICT_ATTEMPTS", "0", "at least 1"),
        ("REDIS_URL", "http://x", "redis://..."),
        ("ASGARD_MODEL_HOLD_GRACE", "0d", "30d"),
        ("ASGARD_MODEL_HOLD_GRACE", "30 days", "30d"),
    ],
)
def test_a_wrong_value_names_setting_source_value_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({variable: value})
    message = caught.value.message
    assert variable in message
    assert allowed in message
    assert value in message or "***" in message


def test_a_wrong_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "asgard.toml"
    for text, words in (("nessie_ref =", "can't be read"), ("nesie_ref = 'x'", "unknown settings: nesie_ref")):
        file.write_text(text)
        with pytest.raises(SettingsError, match=words):
            load_settings({}, environment={}, config_file=file)
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings({}, environment={"ASGARD_CONFIG": str(tmp_path / "no.toml")})
    with pytest.raises(SettingsError, match="There is no setting 'nope'"):
        load_settings({"nope": "x"}, environment={})


@given(st.text(min_size=1, alphabet=st.sampled_from("abcXYZ019-._~!$&()+,;=%")).map("canary-".__add__))
def test_a_secret_never_prints(text: str) -> None:
    secret = Secret(text)
    settings = load({"NESSIE_AUTH_TOKEN": text, "REDIS_URL": f"redis://user:{text}@host:1/0"})
    shown = f"{secret} {secret!r} {[secret]} {settings} {settings!r}"
    assert text not in shown
    assert text not in redact_url(f"redis://user:{text}@host:1/0")
    shown = redact_url(f"redis://user:{text}@{text}@host:1/0")  # an @ that is not escaped
    assert text not in shown
    assert shown.endswith("@host:1/0")
    assert secret.reveal() == text
    assert set(settings.secrets()) >= {text}
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"REDIS_URL": "canary-secret-value"})
    assert "canary" not in str(caught.value)


def test_a_wrong_url_is_not_shown_by_the_parser_either() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"REDIS_URL": "redis://:canary-\uff1aret@host"})
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
