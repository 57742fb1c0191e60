"""Rules of the tables as triggers, for the migrations: written once, spoken as SQLite and as PostgreSQL.

Each function returns a statement for `op.execute`. Conditions are written in what both understand: `a IS DISTINCT
FROM b` where a side may be NULL, booleans as booleans, names like "index" in quotes, OLD and NEW for the row.

A refusal is an IntegrityError on both. On PostgreSQL each trigger has a function of the same name; its search path
ends with the temporary tables, so that nobody's table of the same name answers in place of ours.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement


class Rule(ExecutableDDLElement):
    """A trigger: at `moment` of `event` on `table`, while `when` holds for the row, refuse with `refusal`, or run
    `statements` if there is none."""

    def __init__(
        self, name: str, table: str, moment: str, event: str, when: str, refusal: str = "", statements: str = ""
    ) -> None:
        self.name = name
        self.table = table
        self.moment = moment
        self.event = event
        self.when = when
        self.refusal = refusal
        self.statements = statements


class Dropped(ExecutableDDLElement):
    """The end of a trigger."""

    def __init__(self, name: str, table: str) -> None:
        self.name = name
        self.table = table


def frozen(table: str, *columns: str, when: str = "TRUE") -> Rule:
    """A trigger that refuses to change these columns while `when` holds for the old row; without columns, anything."""
    if not columns:
        return guard(f"{table}_frozen", table, when, on="UPDATE", says=f"{table}: rows cannot change")
    changed = " OR ".join(f'NEW."{c}" IS DISTINCT FROM OLD."{c}"' for c in columns)
    says = f"{table}: {', '.join(columns)} cannot change"
    return guard(f"{table}_frozen_{columns[0]}", table, f"({when}) AND ({changed})", on="UPDATE", says=says)


def kept(table: str) -> Rule:
    """A trigger that refuses to delete rows (nor, on PostgreSQL, all of them at once by TRUNCATE)."""
    return guard(f"{table}_kept", table, "TRUE", on="DELETE", says=f"{table}: rows are kept for ever")


def guard(name: str, table: str, broken: str, on: str = "INSERT", says: str = "") -> Rule:
    """A trigger that refuses a change (`on`: INSERT, UPDATE or DELETE) for which `broken` holds, with the words
    `says`, or its name."""
    return Rule(name, table, "BEFORE", on, broken, refusal=says or name)


def after(name: str, table: str, event: str, when: str, statements: str) -> Rule:
    """A trigger that runs `statements`, each ended by a semicolon, after `event` (INSERT, UPDATE OF column, …) on a
    row for which `when` holds."""
    return Rule(name, table, "AFTER", event, when, statements=statements)


def dropped(name: str, table: str) -> Dropped:
    """The statement that ends a trigger."""
    return Dropped(name, table)


@compiles(Rule, "sqlite")
def _for_sqlite(rule: Rule, _compiler: Any, **_: Any) -> str:
    body = f"SELECT RAISE(ABORT, '{rule.refusal}');" if rule.refusal else rule.statements
    text = f"CREATE TRIGGER {rule.name} {rule.moment} {rule.event} ON {rule.table} WHEN {rule.when}\nBEGIN {body} END"
    # SQLite knows these words since 3.39, and the other ones for ever.
    return text.replace("IS NOT DISTINCT FROM", "IS").replace("IS DISTINCT FROM", "IS NOT")


@compiles(Rule, "postgresql")
def _for_postgresql(rule: Rule, _compiler: Any, **_: Any) -> str:
    statements = [_function(rule), _trigger(rule)]
    if rule.event == "DELETE" and rule.when == "TRUE":
        name = f"{rule.name}_at_once"
        statements.append(
            f"CREATE OR REPLACE TRIGGER {name} BEFORE TRUNCATE ON {rule.table} EXECUTE FUNCTION {rule.name}()"
        )
    return ";\n".join(statements)


def _function(rule: Rule) -> str:
    # A condition of a trigger itself may not look into other tables here, one in a function may.
    body, end = rule.statements, "NULL"
    if rule.refusal:
        body = f"RAISE EXCEPTION USING MESSAGE = '{rule.refusal}', ERRCODE = 'integrity_constraint_violation';"
        end = "OLD" if rule.event == "DELETE" else "NEW"
    return f"""CREATE OR REPLACE FUNCTION {rule.name}() RETURNS trigger LANGUAGE plpgsql
        SET search_path = public, pg_temp AS $rule$
        BEGIN IF ({rule.when}) THEN {body} END IF; RETURN {end}; END $rule$"""


def _trigger(rule: Rule) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER {rule.name} {rule.moment} {rule.event} ON {rule.table} "
        f"FOR EACH ROW EXECUTE FUNCTION {rule.name}()"
    )


@compiles(Dropped, "sqlite")
def _drop_for_sqlite(end: Dropped, _compiler: Any, **_: Any) -> str:
    return f"DROP TRIGGER {end.name}"


@compiles(Dropped, "postgresql")
def _drop_for_postgresql(end: Dropped, _compiler: Any, **_: Any) -> str:
    return f"DROP FUNCTION {end.name}() CASCADE"
