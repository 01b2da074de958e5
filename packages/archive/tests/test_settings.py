"""Where the store is, from the environment."""

import pytest
from pydantic import ValidationError
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings


def test_every_knob_is_an_environment_variable_and_the_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT": "s3:9000", "SECRET_KEY": "hush", "SECURE": "true", "ADDRESSING": "virtual"}.items():
        monkeypatch.setenv(f"REPRISE_STORE_{name}", value)
    settings = StoreSettings()
    assert (settings.endpoint, settings.secure, settings.addressing) == ("s3:9000", True, "virtual")
    assert settings.secret_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("wrong", [{"endpoint": "http://s3:9000"}, {"addressing": "dns"}, {"attempts": 0}])
def test_a_setting_that_cannot_be_meant_is_refused_at_the_start(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StoreSettings(**wrong)  # type: ignore[arg-type]


def test_a_store_is_composed_without_asking_the_server_anything() -> None:
    s3_store(StoreSettings(endpoint="nowhere.invalid:1", access_key="a", secret_key="b"))  # type: ignore[arg-type]
