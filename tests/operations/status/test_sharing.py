"""Questions that are asked once however many want to know."""

import asyncio
import threading

import pytest

from trunkline.operations.status.sharing import Shared

WAIT = 30  # seconds until a test that hangs is called failed


def test_who_comes_meanwhile_shares_the_answer() -> None:
    asked: list[int] = []
    go = threading.Event()

    def question() -> int:
        asked.append(1)
        assert go.wait(WAIT)
        return len(asked)

    async def main() -> None:
        shared = Shared(question)
        asking = [asyncio.ensure_future(shared.ask()) for _ in range(5)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asking) == [1] * 5
        assert await shared.ask() == 2, "no answer is kept"

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_an_answer_may_be_good_for_a_while() -> None:
    asked: list[int] = []

    async def main() -> None:
        kept = Shared(lambda: asked.append(1), age=3600.0)
        for _ in range(3):
            await kept.ask()
        assert len(asked) == 1

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_nobody_waits_longer_than_wanted_and_the_question_goes_on() -> None:
    go = threading.Event()

    def question() -> str:
        assert go.wait(WAIT)
        return "late"

    async def main() -> None:
        shared = Shared(question)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await shared.ask(0.02)
        asking = asyncio.ensure_future(shared.ask(WAIT))
        await asyncio.sleep(0)
        go.set()
        assert await asking == "late"

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_an_error_goes_to_all_who_asked_and_is_not_kept() -> None:
    answers = iter((ZeroDivisionError(), "better"))

    def question() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        shared = Shared(question, age=3600.0)
        found = await asyncio.gather(shared.ask(), shared.ask(), return_exceptions=True)
        assert [type(each) for each in found] == [ZeroDivisionError] * 2
        assert await shared.ask() == "better"

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    go, ended = threading.Event(), threading.Event()

    def question() -> None:
        assert go.wait(WAIT)
        threading.Timer(0.0, ended.set).start()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await Shared(question).ask(0.01)

    asyncio.run(asyncio.wait_for(main(), WAIT))
    go.set()
    assert ended.wait(WAIT)
