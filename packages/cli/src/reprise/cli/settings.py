"""What can be set in the environment, with the prefix `REPRISE_`. Nothing set: the cluster is asked."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict
from reprise.runtime.access.client import FOLDER


class Settings(BaseSettings):
    """store_endpoint set: the store is talked to directly, and no cluster is needed. So for console_url and nats_url."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", frozen=True)

    store_endpoint: str = ""
    """host:port of the S3 API."""
    store_access_key: str = ""
    store_secret_key: str = ""
    store_bucket: str = "reprise"
    store_secure: bool = False
    kek_dir: Path | None = None
    """A folder of key-encryption keys, as the Secret would be mounted."""
    cache_dir: Path | None = None
    """A node's copies of packs, if this runs on that node."""
    console_url: str = ""
    console_token: str = ""
    """A bearer token, where the console asks for one."""
    nats_url: str = ""
    """`tls://host:port` of the event stream."""
    nats_credentials: Path = FOLDER
    """With nats_url: a folder with ca.crt and user.creds, as in the Secret reprise-nats-reader."""
    system_namespace: str = "reprise-system"
    """Where Reprise is deployed."""
    debug: bool = False
    """Show the trace of an error that nobody foresaw."""
