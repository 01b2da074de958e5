"""Whether a container runs from a checkpoint: asked of the runtime once for each."""

from reprise.contracts.images import parse_live
from reprise.runtime.cri import Cri, RunningContainer


class Origins:
    """Shared by who must tell a restored instance from a blank one."""

    def __init__(self, cri: Cri) -> None:
        self._cri = cri
        self._known: dict[str, bool] = {}

    async def restored(self, container: RunningContainer) -> bool:
        """Raises CriError. A live image tells by itself, where the runtime shows the image that was asked for."""
        if container.id not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[container.id] = parse_live(container.image) is not None or await self._cri.is_restored(container.id)
        return self._known[container.id]
