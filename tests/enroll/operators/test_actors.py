"""Who acts: by the account of the machine, and as the register has it now."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from enroll.operators import actors, store
from enroll.operators.actors import By
from enroll.operators.roles import Act, Role, Verdict
from enroll.refusals import Refusal
from tests.datadirs import open_office
from tests.looking import look

ROOT = Path(__file__).parent.parent.parent.parent


def someone(name, *roles, account="", at=1, kind="person", mail="", **more):
    return store.Operator(
        *(0, name, name, kind, tuple(map(Role, roles)), mail, account or name, f"handle-{name}", at, "test"),
        **more,
    )


async def added(ra, name, *roles, **more):
    return await ra.database.write(lambda db: store.add(db, someone(name, *roles, **more)))


def seen(ra, account, *, host=False):
    return actors.of_account(look(ra.database), account, ra.now(), host=host)


async def test_without_operators_the_owner_may_everything(tmp_path):
    """As it was before there were roles; anybody else may nothing."""
    async with open_office(tmp_path) as ra:
        assert seen(ra, "root", host=True).free
        assert all(seen(ra, "root", host=True).may(act) for act in Act)
        assert not any(seen(ra, "mallory").may(act) for act in Act)


async def test_from_the_first_operator_on_roles_hold_for_root(tmp_path):
    """Of whoever has the machine only this is left: adding operators while no two could."""
    async with open_office(tmp_path) as ra:
        await added(ra, "ito", "ca-officer")
        root = seen(ra, "root", host=True)
        assert not root.free
        assert root.may(Act.OPERATORS) & Verdict.DO
        assert not root.may(Act.RECORD)
        await added(ra, "sato", "approver")
        assert not seen(ra, "root", host=True).may(Act.OPERATORS)
        with pytest.raises(Refusal) as refused:
            actors.require(seen(ra, "root", host=True), Act.RECORD, Verdict.PROPOSE)
        assert refused.value.code == "not_permitted"
        assert "root is no operator here" in str(refused.value)
        assert "sekisho operator add NAME --role ROLE --account root" in str(refused.value)


async def test_the_owner_who_is_the_first_operator_adds_the_second(tmp_path):
    """An account that is an operator's keeps what the machine's owner may, as long as it is needed."""
    async with open_office(tmp_path) as ra:
        await added(ra, "ito", "ca-officer", account="root")
        assert seen(ra, "root", host=True).may(Act.OPERATORS) & Verdict.DO
        assert not seen(ra, "root").may(Act.OPERATORS) & Verdict.DO
        await added(ra, "sato", "approver")
        assert not seen(ra, "root", host=True).may(Act.OPERATORS) & Verdict.DO


async def test_an_account_is_its_operator(tmp_path):
    """With the operator's roles and both names; an account of nobody's is refused."""
    async with open_office(tmp_path) as ra:
        await added(ra, "suzuki", "registrar", account="op1")
        actor = seen(ra, "op1")
        assert (actor.by, actor.name, actor.roles) == (By.ACCOUNT, "operator:suzuki/op1", (Role.REGISTRAR,))
        actors.require(actor, Act.RECORD, Verdict.PROPOSE)
        with pytest.raises(Refusal) as refused:
            actors.require(actor, Act.SETTINGS, Verdict.PROPOSE)
        assert "suzuki/op1 is registrar and may not do that (settings): ask ca-officer" in str(refused.value)
        assert not seen(ra, "op2").rights


async def test_a_role_that_was_taken_away_meanwhile_is_gone(tmp_path):
    """Where it counts the register is asked again; who has ended is nobody."""
    async with open_office(tmp_path) as ra:
        before = await added(ra, "suzuki", "registrar")
        actor = seen(ra, "suzuki")
        after = replace(before, roles=(Role.DESK,))
        assert await ra.database.write(lambda db: store.change(db, before, after))
        assert not await ra.database.write(lambda db: store.change(db, before, after))
        assert actors.asked_again(look(ra.database), actor, ra.now()).roles == (Role.DESK,)
        ended = replace(after, ended_at=ra.now())
        assert await ra.database.write(lambda db: store.change(db, after, ended))
        with pytest.raises(Refusal):
            actors.asked_again(look(ra.database), actor, ra.now())
        with pytest.raises(Refusal):
            actors.of_operator(look(ra.database), before.number, By.CONSOLE)


async def test_a_name_and_an_account_are_one_operators(tmp_path):
    """A name for good, an account as long as its operator is there."""
    async with open_office(tmp_path) as ra:
        first = await added(ra, "suzuki", "desk", account="op1")
        assert await added(ra, "suzuki", "desk", account="op2") is None
        assert await added(ra, "tanaka", "desk", account="op1") is None
        ended = replace(first, ended_at=ra.now())
        await ra.database.write(lambda db: store.change(db, first, ended))
        assert await added(ra, "suzuki", "desk", account="op1") is None
        assert await added(ra, "tanaka", "desk", account="op1") is not None


def test_actors_are_built_in_one_place():
    """An actor is a proof: no other file makes one, or it would prove nothing."""
    for room in ("ca", "enroll", "gateway"):
        for path in (ROOT / room).rglob("*.py"):
            if path.relative_to(ROOT).as_posix() == "enroll/operators/actors.py":
                continue
            calls = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)]
            assert not [each for each in calls if ast.unparse(each.func).split(".")[-1] == "Actor"], path
