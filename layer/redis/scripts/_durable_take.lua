-- Taking from durable channels; _queue.lua, _letters.lua and _durable.lua are needed, too.

local LAPSES = 10 -- layer/store/durable_queue.py

local function text(value)
  return '\219' .. struct.pack('>I4', #value) .. value
end

-- Take back what was left to somebody for long enough; what was lost too often becomes a dead letter.
local function lapse(Q, now)
  local gone = call('ZRANGEBYSCORE', Q.v, '-inf', now, 'WITHSCORES')
  if #gone == 0 or not grouped(Q) then return end
  for i = 1, #gone, 2 do
    local id = gone[i]
    local lapses = call('HINCRBY', Q.l, id, 1)
    call('ZREM', Q.v, id)
    if lapses < LAPSES then
      call('ZADD', Q.r, gone[i + 1], id)
    else
      local tries = tries_of(Q, id) or 0
      local entry = call('XRANGE', Q.x, id, id)[1]
      if entry then
        local body = string.sub(entry[2][2], 23)
        local reason = string.format(
          'taken %d times, %d times by somebody who was never heard of again', tries, lapses)
        local letter = '\149' .. text(Q.name) .. '\198' .. struct.pack('>I4', #body) .. body .. text(reason) .. text('')
        bury(Q.name .. '.' .. string.sub(id, 1, -3), letter .. cmsgpack.pack(tries), now, call('HGET', Q.t, id))
      end
      remove(Q, id)
    end
  end
end

-- Take up to `limit` messages: {id, tries, element, …}.
local function take_durable(Q, limit, visibility, now)
  refill(Q, now)
  lapse(Q, now)
  local taken = {}
  local function give(id, tries, element)
    if deadline_of(element) <= now then
      remove(Q, id)
      return
    end
    call('ZADD', Q.v, now + visibility, id)
    local n = #taken
    taken[n + 1], taken[n + 2], taken[n + 3] = string.sub(id, 1, -3), tries, element
  end
  if grouped(Q) then
    while #taken < 3 * limit do
      local some = call('ZRANGEBYSCORE', Q.r, '-inf', now, 'LIMIT', 0, limit - #taken / 3)
      if #some == 0 then break end
      for _, id in ipairs(some) do
        local entry = call('XCLAIM', Q.x, 'w', 'w', 0, id)[1]
        call('ZREM', Q.r, id)
        if entry then give(id, tries_of(Q, id), entry[2][2]) else remove(Q, id) end
      end
    end
    while #taken < 3 * limit do
      local some = call('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', limit - #taken / 3, 'STREAMS', Q.x, '>')
      if not some then break end
      for _, entry in ipairs(some[1][2]) do give(entry[1], 1, entry[2][2]) end
    end
  end
  look_again(Q, now)
  return taken
end
