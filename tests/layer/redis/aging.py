"""A Redis whose time is let pass without waiting, for the state machine.

A real Redis has a clock that nobody moves. So that an example takes no minutes, everything that is kept is made older:
`AGE` takes so many seconds from each time that stands anywhere in the data model.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from trunkline.layer import Layer
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.spread import SpreadLayer
from trunkline.layer.redis.topology import Topology
from trunkline.layer.testing.redis import RedisSubject

AGE = r"""
local P, seconds = ARGV[1], tonumber(ARGV[2])
local call = redis.call
local function older(text) return tonumber(text) - seconds end
local function at_the_head(raw, doubles)
  local times = {}
  for i = 1, doubles do times[i] = struct.pack('>d', struct.unpack('>d', raw, i * 8 - 7) - seconds) end
  return table.concat(times) .. string.sub(raw, doubles * 8 + 1)
end
local function scores(key)
  local entries = call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do call('ZADD', key, older(entries[i + 1]), entries[i]) end
end
local function fields(key, change)
  local entries = call('HGETALL', key)
  for i = 1, #entries, 2 do
    local changed = change(entries[i], entries[i + 1])
    if changed then call('HSET', key, entries[i], changed) end
  end
end
for _, key in ipairs(call('KEYS', P .. '*')) do
  local lives = call('PEXPIRETIME', key)
  local kind = string.match(string.sub(key, #P + 1), '^%a+')
  if kind == 'q' then
    local elements = call('LRANGE', key, 0, -1)
    for i, element in ipairs(elements) do call('LSET', key, i - 1, at_the_head(element, 2)) end
  elseif kind == 'z' or kind == 'due' or kind == 'leases' or kind == 'alive' then
    scores(key)
  elseif kind == 'd' then
    fields(key, function(field, value)
      if string.sub(field, 1, 1) == '#' then return nil end
      local _, size, head = struct.unpack('>I4I2', value)
      return string.sub(value, 1, head - 1 + size) .. at_the_head(string.sub(value, head + size), 2)
    end)
  elseif kind == 'm' then
    fields(key, function(field, value)
      if field == 't' or field == 'e' or field == 'x' or field == 'a' then return older(value) end
      return nil
    end)
  elseif kind == 'p' then
    fields(key, function(_, value) return at_the_head(value, 1) end)
  end
  if lives > 0 then call('PEXPIREAT', key, math.floor(lives - seconds * 1000)) end
end
"""


class AgingLayer(RedisLayer):
    """A layer whose readers keep times as they were before anything was made older."""

    passed = 0.0

    def places_there(self) -> Sequence[RedisLayer]:
        return [self]

    def decode(self, queue: str, elements: Iterable[bytes]) -> list[Any]:
        return [(e[0] + self.passed, e[1] + self.passed, *e[2:]) for e in super().decode(queue, elements)]

    def _run(self, calls: Sequence[Any]) -> list[Any]:
        return super()._run([self._aged(name, args) for name, args in calls])

    def _aged(self, name: str, args: tuple[Any, ...]) -> Any:
        if name != "put_back":
            return name, args
        queue, elements = args
        return name, (queue, [(e[0] - self.passed, e[1] - self.passed, *e[2:]) for e in elements])


class AgingSpreadLayer(AgingLayer, SpreadLayer):
    """The same on several places."""

    def _found(self, topology: Topology) -> None:
        super()._found(topology)
        for place in self.places:
            place.decode = self.decode  # type: ignore[method-assign]

    def places_there(self) -> Sequence[RedisLayer]:
        return self.places


class AgingSubject(RedisSubject):
    """The Redis engine, where time is let pass without waiting."""

    layer_class: type[AgingLayer] = AgingLayer

    def make(self, **options: Any) -> Layer:
        self.layer = self.layer_class(self.url, prefix=self._prefix, **options)
        self._layers.append(self.layer)
        self._synchronous = time.monotonic()
        return self.layer

    def advance(self, seconds: float) -> None:
        # What the test itself took has passed already.
        now = time.monotonic()
        missing = max(0.0, seconds - (now - self._synchronous))
        self._synchronous = now
        self.layer.passed += missing
        for place in self.layer.places_there():
            [reply] = place._pool.run([("EVAL", AGE, 0, place._commands.keys.prefix, missing)])
            assert reply is None
