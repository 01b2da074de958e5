"""What is shown while something takes its time: only on a terminal, and gone at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reprise.archive.repository import Repository
from reprise.cli.adapters.watched import WatchedStore
from reprise.cli.output import stderr
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PACKS, ARCHIVES = "packs/", "archives/"
COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """For what nobody can tell the length of."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Tell the given function of each piece's bytes; total: all of them."""
    console = stderr()
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(*COLUMNS, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def watching(repository: Repository, what: str, *, by_bytes: bool = False) -> Iterator[None]:
    """The bar's length: all objects of checkpoints, each counted once when it is first read; by_bytes: all packs' bytes."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    store, seen = repository.store, set[str]()
    with Progress(*COLUMNS, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def on_read(key: str, count: int) -> None:
            if by_bytes and key.startswith(PACKS):
                progress.advance(task, count)
            elif not by_bytes and key not in seen:
                seen.add(key)
                progress.advance(task)

        prefixes = (PACKS,) if by_bytes else (PACKS, ARCHIVES)
        entries = [entry for prefix in prefixes for entry in store.list(prefix)]
        progress.update(task, total=sum(entry.size for entry in entries) if by_bytes else len(entries))
        repository.store = WatchedStore(store, on_read)
        try:
            yield
        finally:
            repository.store = store
