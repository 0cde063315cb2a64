#!lua flags=allow-oom
-- uses _queue.lua _group.lua _blobs.lua _letters.lua _durable.lua _durable_take.lua
-- Take elements from the first queue that has any, without waiting.
-- KEYS: none are known before.  ARGV: P, limit, life of memberships, holder, then for each queue in the order in which
-- to look: name, and for inboxes capacity and most bytes, for durable channels "" and the visibility timeout, else ""
-- and "".
-- Returns {the number of the queue or 0, its elements, for each inbox {its number, its snapshot}, 1 if the elements are
-- those of a durable channel: id, tries, element, …}.
local limit, life, holder = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = time()
local snapshots = {}
for i = 5, #ARGV, 3 do
  if ARGV[i + 1] ~= '' then
    local snapshot = attach(ARGV[i], holder, life, ARGV[i + 1], ARGV[i + 2], now)
    if snapshot then snapshots[#snapshots + 1] = {(i - 2) / 3, snapshot} end
  end
end
for i = 5, #ARGV, 3 do
  local visibility, kind = ARGV[i + 1] == '' and tonumber(ARGV[i + 2]), 0
  -- A token goes with it; elements are of somebody who does not know that the channel is durable.
  local taken = take(queue(ARGV[i]), limit, now)
  if visibility and #taken > 0 then
    look_again(durable(ARGV[i]), now)
  elseif visibility then
    taken, kind = take_durable(durable(ARGV[i]), limit, visibility, now), 1
  end
  if #taken > 0 then return {(i - 2) / 3, taken, snapshots, kind} end
end
return {0, {}, snapshots, 0}
