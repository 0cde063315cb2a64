"""Which patterns may keep a worker busy for ever (workers.md: nothing a message holds can stop a worker)."""

import re

import pytest

from trunkline.workers import Routing, route
from trunkline.workers.backtracking import may_never_end


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"^/tags/([a-z]+)*!",
        r"(\w+\s?)*$",
        r"x(\s*\w+)*$",
        r"(?:a*)*b",
        r"(a+?)+$",
        r"((a+))+$",
        r"(a+|b)+$",
        r"(a+){30}$",
        r"(a{1,3})+$",
        r"(?=(a+)+$)",
        r"(?:(?:x+)?y*)+$",
    ],
)
def test_a_repeated_repetition_is_found(pattern: str) -> None:
    assert may_never_end(re.compile(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        r"^!say (?P<text>.+)$",
        r"(?:\w+\.)+com$",
        r"(\s+\w+)*$",
        r"(?:a|b)*",
        r"a+b+c+",
        r"(a+){3}$",
        r"(a?)+$",
        r"(?:\d{1,3}\.)+$",
        r"(a{3})+$",
        r"(a++)+$",
        r"(?>a+)+$",
        r"(x)(?(1)a+|b)",
        r"(?i)^(?!a+).*",
    ],
)
def test_what_can_be_cut_in_few_ways_is_not(pattern: str) -> None:
    assert not may_never_end(re.compile(pattern))


def test_it_is_a_problem_of_its_route() -> None:
    routing = Routing([route("http.request", lambda message: None, path=r"^/(a+)+$")])
    (problem,) = routing.problems()
    assert problem.text.startswith(r"path=^/(a+)+$: may take for ever on a text that does not match")
