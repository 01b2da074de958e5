"""A projection's row as one statement, so that events may come in any order and more than once."""

from functools import cache
from typing import LiteralString

from psycopg import sql
from reprise.console.projection import Row


def upsert(row: Row) -> str:
    """Takes the values of row.columns, in their order."""
    newest, oldest = tuple(sorted(row.newest.items())), tuple(sorted(row.oldest.items()))
    return _text(row.table, row.key, tuple(row.columns), row.states, row.first, newest, oldest)


@cache
def _text(
    table: str,
    key: str,
    names: tuple[str, ...],
    states: tuple[str, ...],
    first: frozenset[str],
    newest: tuple[tuple[str, tuple[str, ...]], ...],
    oldest: tuple[tuple[str, tuple[str, ...]], ...],
) -> str:
    return _statement(Row(table, key, dict.fromkeys(names), states, first, dict(newest), dict(oldest))).as_string()


def _statement(row: Row) -> sql.Composed:
    sets = [_set(row, name) for name in row.columns if name != row.key]
    return sql.SQL("insert into {table} ({names}) values ({values}) on conflict ({key}) do update set {sets}").format(
        table=sql.Identifier(row.table),
        names=sql.SQL(", ").join(map(sql.Identifier, row.columns)),
        values=sql.SQL(", ").join(sql.Placeholder() * len(row.columns)),
        key=sql.Identifier(row.key),
        sets=sql.SQL(", ").join(sets),
    )


def _set(row: Row, name: str) -> sql.Composed:
    old, new = sql.Identifier(row.table, name), sql.Identifier("excluded", name)
    if name == "state":
        form = "{column} = case when array_position({states}, {new}) > array_position({states}, {old}) then {new} else {old} end"
    elif name in row.first:
        form = "{column} = coalesce({old}, {new})"
    elif clock := _clock(row.newest, name):
        return _set_by_clock((clock, *row.newest[clock]), row.table, name, ">")
    elif clock := _clock(row.oldest, name):
        return _set_by_clock((clock, *row.oldest[clock]), row.table, name, "<")
    else:
        form = "{column} = {new}"
    return sql.SQL(form).format(column=sql.Identifier(name), old=old, new=new, states=sql.Literal(list(row.states)))


def _clock(groups: dict[str, tuple[str, ...]], name: str) -> str:
    return next((clock for clock, names in groups.items() if name == clock or name in names), "")


def _set_by_clock(group: tuple[str, ...], table: str, name: str, wins: LiteralString) -> sql.Composed:
    """Compared with all that goes with the clock, so that two of the same moment end the same in either order."""
    form = "{column} = case when {old_clock} is null or ({new_group}) {wins} ({old_group}) then {new} else {old} end"
    return sql.SQL(form).format(
        column=sql.Identifier(name),
        old_clock=sql.Identifier(table, group[0]),
        new_group=sql.SQL(", ").join(sql.Identifier("excluded", each) for each in group),
        old_group=sql.SQL(", ").join(sql.Identifier(table, each) for each in group),
        wins=sql.SQL(wins),
        new=sql.Identifier("excluded", name),
        old=sql.Identifier(table, name),
    )
