"""The names of objects in the store.

archives/<ns>/<kind>.<name>/<container>/<checkpoint id>/manifest.json    written last, by conditional put: the commit
                                                       /recipe           encrypted
packs/<ns>/<kind>.<name>/<container>/<pack id>                           chunks and a footer, encrypted
intents/<ns>/<kind>.<name>/<container>/<writer id>.json                  an upload that has not ended
doomed/<ns>/<kind>.<name>/<container>/<pack id>                          will be collected; nobody uses it again
retired/, held/                                                          the same for checkpoints, see retention.py
keys/<ns>/tenant.json, keys/<ns>/<kind>.<name>.json                      wrapped keys
live/<ns>/<live id>/<container>.json                                     what a live reference shows
images/<ns>/<sha256>.json                                                an image's blob by its digest
"""

from dataclasses import dataclass

from reprise.contracts.model import Workload


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
    def retired(self) -> str:
        return f"retired/{self}/"

    @property
    def held(self) -> str:
        return f"held/{self}/"

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


def live_key(namespace: str, live_id: str, container: str) -> str:
    return f"live/{namespace}/{live_id}/{container}.json"


def image_key(namespace: str, digest: str) -> str:
    """digest: `sha256:<hex>`, or anything that a client asked for; only hex makes a key."""
    plain = "".join(c for c in digest.removeprefix("sha256:") if c in "0123456789abcdef")
    return f"images/{namespace}/{plain}.json"


def last(key: str) -> str:
    """The key's last part, without `.json`."""
    return key.rpartition("/")[2].removesuffix(".json")
