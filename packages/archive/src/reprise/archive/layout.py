"""The names of objects in the store.

archives/<ns>/<kind>.<name>/<container>/<checkpoint id>/manifest.json    written last, by conditional put: the commit
                                                       /recipe           encrypted
packs/<ns>/<kind>.<name>/<container>/<pack id>                           chunks and a footer, encrypted
intents/<ns>/<kind>.<name>/<container>/<writer id>.json                  an upload that has not ended
deleted/<ns>/<kind>.<name>/<container>/<checkpoint id>                   removed by a person; retention tells of it
doomed/<ns>/<kind>.<name>/<container>/<pack id>                          will be collected; nobody uses it again
keys/<ns>/tenant.json, keys/<ns>/<kind>.<name>.json                      wrapped keys
"""

from dataclasses import dataclass

from reprise.contracts.model import Workload

OF_OLDER_VERSIONS = ("live/", "images/", "held/", "retired/")
"""Prefixes of records about images that a pod ran from. Nobody reads them any more."""


@dataclass(frozen=True)
class Lineage:
    """One container of one workload: what is deduplicated, kept and collected together."""

    namespace: str
    workload: str
    container: str

    @classmethod
    def of(cls, workload: Workload, container: str) -> "Lineage":
        return cls(workload.namespace, f"{workload.kind.lower()}.{workload.name}", container)

    @classmethod
    def parse(cls, path: str) -> "Lineage":
        """Of `<ns>/<kind>.<name>/<container>`. Raises ValueError."""
        namespace, workload, container = path.split("/")
        return cls(namespace, workload, container)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.workload}/{self.container}"

    @property
    def archives(self) -> str:
        return f"archives/{self}/"

    @property
    def packs(self) -> str:
        return f"packs/{self}/"

    @property
    def intents(self) -> str:
        return f"intents/{self}/"

    @property
    def doomed(self) -> str:
        return f"doomed/{self}/"

    @property
    def deleted(self) -> str:
        return f"deleted/{self}/"

    @property
    def owner(self) -> str:
        """Whose data key it is."""
        return f"{self.namespace}/{self.workload}"

    def manifest(self, checkpoint_id: str) -> str:
        return f"{self.archives}{checkpoint_id}/manifest.json"

    def recipe(self, checkpoint_id: str) -> str:
        return f"{self.archives}{checkpoint_id}/recipe"

    def pack(self, pack_id: str) -> str:
        return self.packs + pack_id


def last(key: str) -> str:
    """The key's last part, without `.json`."""
    return key.rpartition("/")[2].removesuffix(".json")
