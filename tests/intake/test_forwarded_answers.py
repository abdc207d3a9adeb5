"""`intake.acknowledge: {forwarded: NAME}`: what is answered while the sink delivers, hangs or is away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from structlog.testing import capture_logs
from support.daemon import Daemon, telemetry
from support.intake_server import SINK, Answer, RunningIntake, event, request, running_intake
from support.mosquitto import Mosquitto
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LONG_S = 60.0
SHORT_S = 3.0
ROOM = "ast-a1b2c3d4"


async def ask_all(intake: RunningIntake, bodies: Iterable[bytes]) -> list[asyncio.Task[Answer]]:
    """Send each body on a connection of its own; return once the journal has all of them."""
    known = intake.kept.accepted + intake.kept.duplicates
    tasks = [asyncio.create_task(intake.ask(request(body))) for body in bodies]
    await until(lambda: intake.kept.accepted + intake.kept.duplicates == known + len(tasks))
    return tasks


async def test_answers_follow_the_cursor(tmp_path: Path) -> None:
    """Each delivery gets its 200 when the sink has its event and not before, and a duplicate likewise."""
    async with running_intake(tmp_path, forwarded_within_s=LONG_S) as intake:
        [first] = await ask_all(intake, [event("evt_1")])
        [again] = await ask_all(intake, [event("evt_1")])
        rest = await ask_all(intake, [event(f"evt_{number}") for number in range(2, 40)])
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in (first, again, *rest))
        intake.journal.move_cursor(SINK, 1)
        assert [(await task).code for task in (first, again)] == [200, 200]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in rest)
        intake.journal.move_cursor(SINK, intake.journal.head)
        assert {(await task).code for task in rest} == {200}
        assert (await intake.ask(request(event("evt_1")))).code == 200  # nothing to wait for


async def test_a_sink_that_is_late_is_not_waited_for_again(tmp_path: Path) -> None:
    """After the time limit: 503 with Retry-After, and at once for later deliveries until the sink is there.

    All of them are in the journal, and the log has one line down and one up.
    """
    with capture_logs() as logs:
        async with running_intake(tmp_path, forwarded_within_s=SHORT_S) as intake:
            answers = await asyncio.gather(*(intake.ask(request(event(f"evt_{n}"))) for n in range(5)))
            assert {(answer.code, answer.headers["retry-after"]) for answer in answers} == {(503, "10")}
            assert "sink bms has not delivered it within 3 s" in answers[0].body.decode()
            late_through = intake.journal.head
            async with asyncio.timeout(SHORT_S):
                assert (await intake.ask(request(event("evt_5")))).code == 503
                assert (await intake.ask(request(event("evt_1")))).code == 503
            assert len(intake.stored()) == 6
            intake.journal.move_cursor(SINK, late_through)
            waiting = asyncio.create_task(intake.ask(request(event("evt_5"))))
            await until(lambda: intake.kept.duplicates == 2)
            intake.journal.move_cursor(SINK, intake.journal.head)
            assert (await waiting).code == 200
    assert [line["event"] for line in logs if line["event"].startswith("intake.")] == [
        "intake.not_forwarded",
        "intake.forwarding",
    ]


async def test_stopping_ends_the_waiting(tmp_path: Path) -> None:
    """What still waits when the gateway ends gets 503, as do deliveries whose commit was under way."""
    async with AsyncExitStack() as stack:
        intake = await stack.enter_async_context(running_intake(tmp_path, forwarded_within_s=LONG_S))
        [waiting] = await ask_all(intake, [event("evt_1")])
        assert intake.intake.forwarding is not None
        intake.intake.forwarding.stop()
        assert (await waiting).code == 503
        assert (await intake.ask(request(event("evt_2")))).code == 503
        assert set(intake.stored()) == {"evt_1", "evt_2"}


async def test_a_broker_that_hangs_holds_answers_back(tmp_path: Path) -> None:
    """With a real daemon and broker: no 200 before the broker has acknowledged, and 200s again after it.

    A gateway that is stopped meanwhile answers 503, and its successor takes the same delivery.
    """
    with Mosquitto(tmp_path) as broker:
        daemon = Daemon(tmp_path, broker.port)
        text = daemon.config.read_text()
        daemon.config.write_text(
            text.replace("signing_secrets", "acknowledge: {forwarded: bms}, signing_secrets")
        )
        daemon.start()
        try:
            assert (await post(daemon, 1))[0] == 200
            broker.freeze()
            held = asyncio.create_task(post(daemon, 2))
            await until(lambda: daemon.status()["journal"]["accepted"] == 2)
            assert not held.done()
            broker.thaw()
            assert (await held)[0] == 200
            broker.freeze()
            held = asyncio.create_task(post(daemon, 3))
            await until(lambda: daemon.status()["journal"]["accepted"] == 3)
            assert await asyncio.to_thread(daemon.stop) == 0
            assert await held == (503, '{"error":"the gateway is stopping"}')
            broker.thaw()
            daemon.start()
            assert (await post(daemon, 3))[0] == 200
        finally:
            daemon.kill()


async def post(daemon: Daemon, number: int) -> tuple[int, str]:
    """Post one event; return status and body of the answer."""
    return await asyncio.to_thread(daemon.post, telemetry(f"evt_{number}", ROOM, {"temperature": number}))
