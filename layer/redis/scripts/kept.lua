#!lua flags=allow-oom
-- uses _queue.lua _blobs.lua _letters.lua _durable.lua _durable_take.lua
-- Tell of messages of a durable channel, leaving them there: first those in the stream, then the delayed ones.
-- KEYS: x, v, r, l, y, e of the queue, later, wake.  ARGV: P, name, id after which to begin or "", limit.
-- Returns {id, element, tries, age and state, seconds until it can be taken, or is taken for lost, …}. Ids of delayed
-- messages have a point.
local Q, after, limit = durable(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local now = time()
refill(Q, now)
lapse(Q, now)
forget_expired(Q, now)
local found = {}
local function tell(id, element, tries, state, wait)
  local _, queued = struct.unpack('>dd', element)
  for _, part in ipairs({id, element, tries, tostring(math.max(0, now - queued)), state, tostring(math.max(0, wait))}) do
    found[#found + 1] = part
  end
end
if not string.find(after, '.', 1, true) and grouped(Q) then
  local from = after == '' and '-' or '(' .. after .. '-0'
  for _, entry in ipairs(call('XRANGE', Q.x, from, '+', 'COUNT', limit)) do
    local id = entry[1]
    local taken, again = call('ZSCORE', Q.v, id), call('ZSCORE', Q.r, id)
    local state, wait = 'waiting', 0
    if taken then
      state, wait = 'taken', tonumber(taken) - now
    elseif again and tonumber(again) > now then
      state, wait = 'later', tonumber(again) - now
    end
    tell(string.sub(id, 1, -3), entry[2][2], tries_of(Q, id) or 0, state, wait)
  end
  after = ''
end
local ids = call('ZRANGE', Q.z, 0, -1)
table.sort(ids)
for _, id in ipairs(ids) do
  local _, _, element = record_of(Q, id)
  if element and id > after and #found < 6 * limit then
    tell(id, element, 0, 'later', tonumber(call('ZSCORE', Q.z, id)) - now)
  end
end
look_again(Q, now)
return found
