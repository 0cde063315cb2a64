#!lua flags=allow-oom
-- uses _queue.lua _group.lua
-- Take elements from the first queue that has any, without waiting.
-- KEYS: none are known before.  ARGV: P, limit, life of memberships, holder, then for each queue in the order in which
-- to look: name, and for inboxes capacity and most bytes, else "" and "".
-- Returns {the number of the queue or 0, its elements, for each inbox {its number, its snapshot}}.
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
  local taken = take(queue(ARGV[i]), limit, now)
  if #taken > 0 then return {(i - 2) / 3, taken, snapshots} end
end
return {0, {}, snapshots}
