"""Logs go to stderr at the level that is set, and carry no secret."""

import pytest

from asgard.common.logging import configure_logging, logger, redact
from asgard.common.settings import load_settings


def test_the_level_holds_and_secrets_are_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"LOG_LEVEL": "INFO", "NESSIE_AUTH_TOKEN": "canary-1", "REDIS_URL": "redis://u:canary-2@h:1/0"}
    configure_logging(load_settings({}, environment=environment))
    logger("run").info("token %s and %s", "canary-1", ["canary-2"])
    logger("run").debug("not at this level")
    said = capsys.readouterr().err
    assert "INFO asgard.run token *** and ['***']" in said
    assert "canary" not in said
    assert "not at this level" not in said
    configure_logging(load_settings({}, environment={}))


def test_of_secrets_that_begin_alike_no_rest_is_left() -> None:
    for secret in ("canary-1", "canary-1-and-more", "canary-1-and"):
        configure_logging(load_settings({}, environment={"NESSIE_AUTH_TOKEN": secret}))
    assert redact("a canary-1-and-more, a canary-1") == "a ***, a ***"
    configure_logging(load_settings({}, environment={}))
