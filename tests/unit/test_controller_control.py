"""Who drives: one at a time, in the order they ask, and never somebody who may only look."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from oriel.controller.control import ACTIVE_S, ControlLease, Kind, Viewer
from oriel.controller.rights import Mode
from oriel.model.errors import ForbiddenError, InvalidError, StateError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def viewer(name: str, kind: Kind = Kind.PERSON, mode: Mode = Mode.CONTROL, key: str = "") -> Viewer:
    return Viewer(id=name, key=key or name, name=name, kind=kind, mode=mode, since="")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> ControlLease:
    return ControlLease(clock=clock)


def test_the_first_person_who_may_drives(lease: ControlLease) -> None:
    looker, ann, bob = viewer("looker", mode=Mode.VIEW), viewer("ann"), viewer("bob")
    for one in (looker, ann, bob):
        lease.arrive(one)
    assert lease.holder is ann
    assert not lease.drive(looker)


def test_who_has_not_touched_it_yet_gives_way_to_the_first_key(lease: ControlLease) -> None:
    ann, agent = viewer("ann"), viewer("agent", Kind.AGENT)
    lease.arrive(agent)
    assert lease.holder is None
    lease.arrive(ann)
    lease.require(agent)
    assert lease.holder is agent


def test_it_is_theirs_while_they_use_it(lease: ControlLease, clock: Clock) -> None:
    ann, agent = viewer("ann"), viewer("agent", Kind.AGENT)
    lease.arrive(ann)
    lease.drive(ann)
    with pytest.raises(StateError, match="ann is driving") as caught:
        lease.require(agent)
    assert caught.value.code == "not_driving"
    clock.now += ACTIVE_S - 1
    assert lease.move(ann)
    clock.now += ACTIVE_S - 1
    assert not lease.drive(agent)
    clock.now += 1
    assert lease.drive(agent)


def test_what_belongs_to_one_token_is_one_hand(lease: ControlLease) -> None:
    tab, other_tab = viewer("tab", key="t"), viewer("other", key="t")
    lease.drive(tab)
    assert lease.drive(other_tab)
    assert lease.holder is other_tab


def test_asking_and_handing_over(lease: ControlLease) -> None:
    ann, guest, looker = viewer("ann"), viewer("guest", Kind.GUEST), viewer("looker", mode=Mode.VIEW)
    lease.drive(ann)
    assert not lease.request(guest)
    assert not lease.take(guest)
    assert lease.requests == [guest]
    lease.decline(ann, guest)
    assert lease.requests == []
    lease.request(guest)
    with pytest.raises(StateError):
        lease.give(guest, guest)
    with pytest.raises(InvalidError):
        lease.give(ann, looker)
    lease.give(ann, guest)
    assert (lease.holder, lease.requests) == (guest, [])
    assert lease.take(ann), "an account holder takes it back at once"


def test_who_asked_first_gets_it_when_the_holder_leaves(lease: ControlLease) -> None:
    ann, bob = viewer("ann"), viewer("bob")
    lease.drive(ann)
    lease.request(bob)
    lease.leave(ann)
    assert lease.holder is bob
    lease.leave(bob)
    assert lease.holder is None


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: who drives may, is there, and does not ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.lease = ControlLease(clock=self.clock)
        kinds = (Kind.PERSON, Kind.GUEST, Kind.AGENT)
        self.all = [
            viewer(f"{kind}-{mode}", kind, mode) for kind in kinds for mode in (Mode.CONTROL, Mode.VIEW)
        ]
        self.here: list[Viewer] = []

    def some(self, index: int) -> Viewer:
        one = self.all[index]
        if one not in self.here:
            self.here.append(one)
            self.lease.arrive(one)
        return one

    @rule(index=st.integers(0, 5), verb=st.sampled_from(["drive", "move", "take", "request", "withdraw"]))
    def act(self, index: int, verb: str) -> None:
        try:
            getattr(self.lease, verb)(self.some(index))
        except InvalidError:
            assert not self.all[index].may_drive

    @rule(
        index=st.integers(0, 5), to=st.none() | st.integers(0, 5), verb=st.sampled_from(["give", "decline"])
    )
    def hand(self, index: int, to: int | None, verb: str) -> None:
        by, target = self.some(index), None if to is None else self.some(to)
        if verb == "decline" and target is None:
            return
        try:
            getattr(self.lease, verb)(by, target)
        except StateError:
            assert self.lease.holder is not by
        except InvalidError:
            assert target is not None
            assert not target.may_drive

    @rule(index=st.integers(0, 5))
    def go(self, index: int) -> None:
        if (one := self.all[index]) in self.here:
            self.here.remove(one)
            self.lease.leave(one)

    @rule(seconds=st.sampled_from([1.0, ACTIVE_S]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def it_makes_sense(self) -> None:
        holder, requests = self.lease.holder, self.lease.requests
        assert holder is None or (holder.may_drive and holder in self.here)
        assert holder not in requests
        assert len(set(map(id, requests))) == len(requests)
        assert all(one.may_drive and one in self.here for one in requests)
        drivers = [one for one in self.here if one.kind is not Kind.AGENT and one.may_drive]
        for one in drivers:
            if self.lease.active and holder is not one:
                with pytest.raises((StateError, ForbiddenError)):
                    self.lease.require(one)


TestAnyOrder = AnyOrder.TestCase
