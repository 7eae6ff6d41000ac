"""A limit with priorities: who waits longest, or matters most, gets the next slot.

Nobody runs here. A task that wants a slot enters with a :class:`Ticket`, waits for it, works in its own task,
and leaves. So cancelling the task gives everything back, and there is nothing to start or to stop.

Work that holds a slot may ask for another one (a task that submits a task and waits for it). It borrows the
slot of its parent, which has nothing to do but wait: so nested work can not deadlock, however deep it goes,
and a slot is never used by two at once who both do something of their own. If a parent has several children
at once, one of them has its slot and the others wait for that or for a free one.
"""

from __future__ import annotations

__all__ = ("Slots", "Ticket", "innermost")

import math
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

import anyio
import anyio.lowlevel

from sentrio.errors import ClosedError, RunnerClosedError

# The ticket that the code works with; copied into the context of every task that it starts.
innermost: ContextVar[Ticket | None] = ContextVar("sentrio_innermost_ticket", default=None)

# A queue keeps those who gave up until they reach its head; past this number it is tidied.
_GIVEN_UP_AT_MOST = 64


class Ticket:
    """The way of one piece of work through the slots: it waits, holds a slot, and leaves."""

    __slots__ = (
        "__weakref__",
        "_children",
        "_lent",
        "_order",
        "_parent",
        "_slots",
        "_users",
        "active",
        "closed",
        "event",
        "outer",
        "root",
        "scope",
    )

    def __init__(self, slots: Slots, deadline: float, outer: Ticket | None) -> None:
        self._slots = slots
        self._order: tuple[float, int] = (0.0, 0)
        self.event: anyio.Event | None = None  # what to wait for; None if there was a slot at once
        self._parent: Ticket | None = None  # whose slot is borrowed, or waited for
        self._children: list[Ticket] | None = None  # who wait for our slot
        self._lent = False
        self._users = 0  # of our slot, if we are its root: ourselves and who borrowed it
        self.outer = outer
        self.root: Ticket | None = None  # who got the slot from the pool; None while waiting
        self.scope = slots._new_scope(deadline=deadline)
        self.active = True
        self.closed = False  # the scope was cancelled by `Slots.close`

    def leave(self) -> None:
        """Give the slot back, or give up waiting for it."""
        self._slots._leave(self)


class Slots:
    """A number of slots, and those who wait for one, by priority and age.

    :param total: how many tickets may hold a slot at once
    :param aging_seconds: after how long a waiting ticket has gained one level of priority
    :param owner: who the slots belong to, for messages
    :param closed_error: what is raised while the slots are closed
    """

    def __init__(
        self, total: int, aging_seconds: float, owner: str, closed_error: type[ClosedError] = RunnerClosedError
    ) -> None:
        self.total = total
        self.owner = owner
        self.closed_error = closed_error
        self._aging = aging_seconds
        self._free = total
        self._queues: dict[int, deque[Ticket]] = {}  # by priority; in each, who came first is first
        self._waiting = 0
        self._given_up = 0
        self._count = 0
        self._live: set[Ticket] = set()
        self._open: bool | None = None  # None: never opened
        self._cancelled = False  # closed for calls that had begun, too
        self._calls = 0
        self._emptied: anyio.Event | None = None
        self._new_scope: Callable[..., anyio.CancelScope] = anyio.CancelScope
        self._new_event: Callable[[], anyio.Event] = anyio.Event
        self._time: Callable[[], float] = anyio.current_time

    @property
    def is_open(self) -> bool:
        """Whether new work is taken."""
        return bool(self._open)

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return self._waiting

    @property
    def running(self) -> int:
        """How many hold a slot, borrowed ones included."""
        return len(self._live) - self._waiting

    @property
    def is_empty(self) -> bool:
        """Whether nobody runs, waits, or is in a call."""
        return not (self._live or self._calls)

    def open(self) -> None:
        """Take work from now on. Call it in the event loop that the work runs in."""
        # AnyIO finds out which backend runs each time that it is asked for one of these: for a task that has
        # nothing to do, a sixth of what it costs.
        self._new_scope = type(anyio.CancelScope())
        self._new_event = type(anyio.Event())
        loop = anyio.lowlevel.current_token().native_token
        self._time = getattr(loop, "time", anyio.current_time)
        self._open = True
        self._cancelled = False

    def begin_call(self) -> None:
        """Begin a call that enters again and again; a shutdown that waits, waits for its ``end_call()``.

        :raises sentrio.errors.ClosedError: if the slots are closed
        """
        self.require_open()
        self._calls += 1

    def end_call(self) -> None:
        """End what ``begin_call`` began."""
        self._calls -= 1
        self._notice_emptied()

    def enter(self, priority: int, deadline: float = math.inf, *, in_call: bool = False) -> Ticket:
        """Take a slot, or a place among those who wait. Whoever enters must ``leave()``.

        The work, and the waiting for it, belongs inside the ticket's ``scope``.

        :param in_call: this is part of a call that has begun before the slots were closed
        :raises sentrio.errors.ClosedError: if the slots are closed
        """
        link = outer = _nearest_active(innermost.get())
        while link is not None:
            # Tickets that have left are of no use. Without this, tasks that start tasks without an end would
            # keep them all.
            link.outer = _nearest_active(link.outer)
            link = link.outer
        parent = self._parent_of(outer)
        if not self._open and parent is None and (self._cancelled or not in_call):
            self.require_open()

        ticket = Ticket(self, deadline, outer)
        self._live.add(ticket)
        if parent is not None and not parent._lent:
            self._lend(parent, ticket)
        elif self._free:
            self._free -= 1
            ticket.root = ticket
            ticket._users = 1
        else:
            self._enqueue(ticket, priority, parent)
        return ticket

    def require_open(self) -> None:
        """Check that new work is taken, at least from the caller, who may be part of work that runs.

        :raises sentrio.errors.ClosedError: if it is not
        """
        if not self._open and self._parent_of(innermost.get()) is None:
            problem = "is not running: start() it, or use it in `async with`"
            raise self.closed_error(self.owner, problem if self._open is None else "was shut down")

    def close(self, *, cancel: bool) -> None:
        """Take no more work but that of work that is running; with ``cancel``, end what runs and waits."""
        self._open = False
        if cancel:
            self._cancelled = True
            for ticket in tuple(self._live):
                ticket.closed = True
                ticket.scope.cancel()

    def refuse_inside(self, call: str) -> None:
        """Check that the caller is not itself among those whom it wants to wait for.

        :raises RuntimeError: if it is
        """
        if self._parent_of(innermost.get()) is not None:
            raise RuntimeError(f"{call} waits for all tasks, so a task of the same {self.owner} can not call it")

    async def emptied(self) -> None:
        """Wait until everybody has left."""
        while self._live or self._calls:
            if self._emptied is None:
                self._emptied = anyio.Event()
            await self._emptied.wait()

    def _parent_of(self, ticket: Ticket | None) -> Ticket | None:
        """Return the nearest ticket for these slots that the code works with and that is still active."""
        while ticket is not None and not (ticket._slots is self and ticket.active):
            ticket = ticket.outer
        return ticket

    def _lend(self, parent: Ticket, child: Ticket) -> None:
        parent._lent = True
        child._parent = parent
        child.root = root = parent.root or parent  # only who holds a slot works, and can be a parent
        root._users += 1

    def _enqueue(self, ticket: Ticket, priority: int, parent: Ticket | None) -> None:
        ticket.event = self._new_event()
        self._count += 1
        if self._aging == math.inf:
            ticket._order = (priority, self._count)
        else:
            # Whoever waits gains on everybody who comes later, by a level in each `aging` seconds. As all who
            # wait gain alike, their order never changes.
            ticket._order = (self._time() + priority * self._aging, self._count)
        queue = self._queues.get(priority)
        if queue is None:
            queue = self._queues[priority] = deque()
        queue.append(ticket)
        self._waiting += 1
        if parent is not None:
            ticket._parent = parent
            parent._children = [*(parent._children or ()), ticket]

    def _grant(self, ticket: Ticket) -> None:
        self._waiting -= 1
        if ticket.event is not None:
            ticket.event.set()
        if ticket._parent is not None and ticket._parent._children:
            ticket._parent._children.remove(ticket)

    def _leave(self, ticket: Ticket) -> None:
        ticket.active = False
        self._live.discard(ticket)
        parent, root = ticket._parent, ticket.root
        if root is None:
            self._give_up(ticket)
        else:
            root._users -= 1
            if parent is not None and root is not ticket:
                parent._lent = False
                if parent.active and parent._children:
                    self._lend_on(parent)
            if not root._users:
                self._free += 1
                self._dispatch()
        # What a context variable or a traceback may keep alive must not keep others alive.
        ticket.root = ticket._parent = ticket._children = None
        if not self._live:
            self._notice_emptied()

    def _notice_emptied(self) -> None:
        if not (self._live or self._calls) and self._emptied is not None:
            self._emptied.set()
            self._emptied = None

    def _lend_on(self, parent: Ticket) -> None:
        child = min(parent._children or (), key=_order)
        self._grant(child)
        self._lend(parent, child)
        self._forget_one()

    def _dispatch(self) -> None:
        while self._free and self._waiting:
            ticket = self._next()
            self._free -= 1
            ticket.root = ticket
            ticket._users = 1
            self._grant(ticket)

    def _next(self) -> Ticket:
        """Take the ticket whose turn it is from its queue. There is one."""
        heads = []
        for queue in self._queues.values():
            # Those who gave up, or borrowed a slot meanwhile, are still in the queue.
            while queue and not _waits(queue[0]):
                queue.popleft()
                self._given_up -= 1
            if queue:
                heads.append(queue)
        chosen = heads[0] if len(heads) == 1 else min(heads, key=lambda queue: queue[0]._order)
        return chosen.popleft()

    def _give_up(self, ticket: Ticket) -> None:
        if ticket._parent is not None and ticket._parent._children:
            ticket._parent._children.remove(ticket)
        self._waiting -= 1
        self._forget_one()

    def _forget_one(self) -> None:
        """Note that one more ticket in the queues waits no longer, and tidy them when there are many."""
        self._given_up += 1
        if self._given_up > max(_GIVEN_UP_AT_MOST, self._waiting):
            self._queues = {priority: deque(filter(_waits, queue)) for priority, queue in self._queues.items()}
            self._given_up = 0


def _nearest_active(ticket: Ticket | None) -> Ticket | None:
    while ticket is not None and not ticket.active:
        ticket = ticket.outer
    return ticket


def _order(ticket: Ticket) -> tuple[float, int]:
    return ticket._order


def _waits(ticket: Ticket) -> bool:
    return ticket.root is None and ticket.active
